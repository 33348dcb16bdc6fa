"""One small model of packet filters: base chains at hooks, rules of steps, verdicts.

Room: core. nft's rule is a run of steps, each of which a packet must meet to get to the next; iptables', ufw's and
security groups' rules fit into the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from ginnel.core.firewall.lint.fields import Box
from ginnel.core.firewall.lint.ints import Ints
from ginnel.core.firewall.lint.ipset import IpSets

MAX_BYTES = 16 << 20
MAX_RULES = 100_000
MAX_ELEMENTS = 400_000
MAX_QUOTE = 300
MAX_JUMPS = 16  # NFT_JUMP_STACK_SIZE; deeper than that the kernel does not load


class LintError(Exception):
    """The file cannot be read as rules; one line."""


class Verdict(StrEnum):
    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    RETURN = "return"
    CONTINUE = "continue"
    UNCLEAR = "unclear"
    """Something else decides: a program (queue), a translation to another port or host."""


@dataclass(frozen=True, slots=True)
class Jump:
    """To a chain of the same table. final: goto."""

    target: str
    final: bool = False


Ending = Verdict | Jump


@dataclass(frozen=True, slots=True)
class When:
    """Go on with packets that are in one of the cases (negated: in none)."""

    cases: tuple[Box, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Masked:
    """Go on with packets whose field, masked, is the value (negated: is not)."""

    field: str
    mask: int
    value: int
    negated: bool = False


@dataclass(frozen=True, slots=True)
class InSet:
    """Go on with packets of which these sides ("src", "dst") are in an ipset (negated: are not)."""

    name: str
    sides: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Do:
    ending: Ending


@dataclass(frozen=True, slots=True)
class Switch:
    """The first case that the packet is in decides; one that is in none goes on."""

    cases: tuple[tuple[Box, Ending], ...]


@dataclass(frozen=True, slots=True)
class Assign:
    """field = field & ~mask ^ value. values: instead, any of these (unknown: all)."""

    field: str
    mask: int = 0xFFFF_FFFF
    value: int = 0
    values: Ints | None = None


Step = When | Masked | InSet | Do | Switch | Assign


@dataclass(frozen=True, slots=True)
class Rule:
    """text: as its author would know it again. handle: nft's, 0 elsewhere."""

    text: str
    steps: tuple[Step, ...]
    handle: int = 0


Hook = Literal["ingress", "prerouting", "input", "output", "postrouting", "egress"]
INWARD: tuple[Hook, ...] = ("ingress", "prerouting", "input")
OUTWARD: tuple[Hook, ...] = ("output", "postrouting", "egress")


@dataclass(slots=True)
class Chain:
    """where: for people ("table inet filter, chain input"). table: jumps stay within it. families: 4, 6. hook: "" for
    a chain that is only jumped to, or whose hook no packet of this host meets. device: of an ingress chain, None all.
    somewhere: it is at one device, and nobody has told which. runs: the
    rules as `runs.py` has made them."""

    where: str
    table: str
    name: str
    families: frozenset[int]
    hook: str = ""
    priority: int = 0
    policy: Verdict = Verdict.ACCEPT
    nat: bool = False
    device: Ints | None = None
    somewhere: bool = False
    rules: list[Rule] = field(default_factory=list)
    runs: list[Any] | None = field(default=None, init=False, repr=False, compare=False)


@dataclass(slots=True)
class RuleSet:
    """chains: in the file's order, by (table, name). families: of which the file speaks; what it says of the others is
    nothing. notes: lines for the user about what was left out. ipsets: that iptables' rules refer to.
    opaque: nft's tables that iptables has made, told without what their rules match. covers: such tables that are told
    in full here, by the other program."""

    chains: dict[tuple[str, str], Chain] = field(default_factory=dict)
    families: frozenset[int] = frozenset({4, 6})
    notes: list[str] = field(default_factory=list)
    ipsets: IpSets = field(default_factory=IpSets)
    opaque: frozenset[str] = frozenset()
    covers: frozenset[str] = frozenset()

    def base(self, hook: str, family: int) -> list[Chain]:
        """In the order in which packets meet them."""
        here = [c for c in self.chains.values() if c.hook == hook and family in c.families]
        return sorted(here, key=lambda chain: chain.priority)

    def joined(self, other: RuleSet) -> RuleSet:
        """Both in force at once; what one of them tells in full is not taken from the other."""
        return self._uncovered(other)._and(other._uncovered(self))

    def _uncovered(self, other: RuleSet) -> RuleSet:
        if not other.covers:
            return self
        kept = {key: chain for key, chain in self.chains.items() if chain.table not in other.covers}
        return replace(self, chains=kept, opaque=self.opaque - other.covers)

    def _and(self, other: RuleSet) -> RuleSet:
        clash = self.chains.keys() & other.chains.keys()
        if clash:
            raise LintError(f"two of the files have the table {min(clash)[0]}; give each table once")
        twice = self.ipsets.by_name.keys() & other.ipsets.by_name.keys()
        if twice:
            raise LintError(f"two of the files have the ipset {min(twice)}; give each once")
        return RuleSet(
            {**self.chains, **other.chains},
            self.families | other.families,
            [*self.notes, *other.notes],
            IpSets(self.ipsets.by_name | other.ipsets.by_name),
            self.opaque | other.opaque,
            self.covers | other.covers,
        )

    def ipsets_asked(self) -> list[str]:
        """Names of those that a rule refers to."""
        steps = (step for chain in self.chains.values() for rule in chain.rules for step in rule.steps)
        return sorted({step.name for step in steps if isinstance(step, InSet)})
