"""Which of this host's firewalls keep datagrams from the tunnel's port, and where in them an accept belongs.

Room: core. Where several are installed, that one counts whose rules decide: every base chain that packets meet must let
them pass, and an accept in another table does not help.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from ginnel.core.firewall.lint.judge import Answer, arrival
from ginnel.core.firewall.lint.model import INWARD, Chain, Do, Rule, RuleSet, Verdict
from ginnel.core.firewall.lint.trips import Family, Where
from ginnel.core.firewall.lint.walk import Decided
from ginnel.core.firewall.needs import Need


class Backend(StrEnum):
    UFW = "ufw"
    FIREWALLD = "firewalld"
    NFTABLES = "nftables"
    IPTABLES = "iptables"


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an accept belongs. chain: the one to add to. before: the rule that it must precede, None: at its end."""

    chain: Chain
    before: Rule | None


@dataclass(frozen=True, slots=True)
class Blocked:
    """One base chain that stops what comes to the port. by: the rule or policy that does."""

    family: Family
    backend: Backend
    by: Decided
    spot: Spot


@dataclass(frozen=True, slots=True)
class Judged:
    """blocked: () where the port is open, or where nobody knows. doubts: one line for each family that is not clear."""

    blocked: tuple[Blocked, ...]
    doubts: tuple[str, ...]


def tunnel_in(port: int) -> Need:
    return Need("tunnel-in", "in", "udp", None, port, optional=True)


def who_blocks(rules: RuleSet, port: int, where: Where) -> Judged:
    """Every base chain is asked alone, so that all that must be opened is known at once."""
    blocked: list[Blocked] = []
    doubts: list[str] = []
    need = tunnel_in(port)
    for family in need.families:
        for base in (chain for hook in INWARD for chain in rules.base(hook, family) if not chain.nat):
            alone = _alone(rules, base)
            leg = arrival(alone, need, family, where)
            if leg.by is not None:
                spot = _spot(alone, need, family, where, leg.by)
                blocked.append(Blocked(family, owner(base, rules), leg.by, spot))
            elif leg.answer is not Answer.PASSES:
                doubts += [f"IPv{family} {leg.answer}: {quote.where}: {quote.text}" for quote in leg.quotes[:1]]
    return Judged(tuple(blocked), tuple(doubts))


def owner(chain: Chain, rules: RuleSet) -> Backend:
    """Whose table it is: by its name, and by the chains in it."""
    family, _, name = chain.table.partition(" ")
    if name == "firewalld":
        return Backend.FIREWALLD
    if family.startswith(("iptables", "ip6tables")):
        mates = (mate for table, mate in rules.chains if table == chain.table)
        return Backend.UFW if any(mate.startswith(("ufw-", "ufw6-")) for mate in mates) else Backend.IPTABLES
    return Backend.NFTABLES


def _alone(rules: RuleSet, base: Chain) -> RuleSet:
    """The set with this base chain as the only one that anything meets on its way in."""
    chains = {
        key: chain if chain is base or not chain.hook else replace(chain, hook="")
        for key, chain in rules.chains.items()
        if chain.table == base.table
    }
    return replace(rules, chains=chains)


def _spot(alone: RuleSet, need: Need, family: Family, where: Where, by: Decided) -> Spot:
    """Right before what stops the packets, so that rules above it that refuse somebody stay in force; at the head of
    the base chain where that does not help."""
    spot = Spot(by.chain, by.rule)
    if arrival(with_accept(alone, spot), need, family, where).answer is not Answer.BLOCKED:
        return spot
    base = next(chain for chain in alone.chains.values() if chain.hook)
    return Spot(base, base.rules[0] if base.rules else None)


def with_accept(rules: RuleSet, spot: Spot) -> RuleSet:
    """The set as it would be."""
    accept = Rule("(the new rule)", (Do(Verdict.ACCEPT),))
    at = position(spot) - 1
    changed = replace(spot.chain, rules=[*spot.chain.rules[:at], accept, *spot.chain.rules[at:]])
    return replace(rules, chains={**rules.chains, (spot.chain.table, spot.chain.name): changed})


def position(spot: Spot) -> int:
    """Counted from 1, as iptables does."""
    if spot.before is None:
        return len(spot.chain.rules) + 1
    return 1 + next(n for n, rule in enumerate(spot.chain.rules) if rule is spot.before)
