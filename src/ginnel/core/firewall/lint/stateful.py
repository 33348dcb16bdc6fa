"""What ufw and the clouds' filters share: two lists of rules, inward and outward, behind "what is established passes".

Room: core.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from ginnel.core.firewall.lint.fields import IP4, IP6, PROTOCOLS, STATES, Box, Field, network
from ginnel.core.firewall.lint.ints import Ints, joined, point, span
from ginnel.core.firewall.lint.model import Chain, Do, LintError, Rule, RuleSet, Verdict, When

KNOWN = joined((STATES[name], STATES[name]) for name in ("established", "related"))
BOTH = frozenset({4, 6})


def stateful(name: str, inward: list[Rule], outward: list[Rule], policies: tuple[Verdict, Verdict]) -> RuleSet:
    """policies: (inward, outward), of what no rule names."""
    known = Rule("what belongs to an established connection passes", (When(({Field.CT_STATE: KNOWN},)), accept()))
    got = RuleSet()
    for side, hook, rules, policy in (
        ("incoming", "input", inward, policies[0]),
        ("outgoing", "output", outward, policies[1]),
    ):
        chain = Chain(f"{name}, {side}", name, side, BOTH, hook, policy=policy, rules=[known, *rules])
        got.chains[name, side] = chain
    return got


def accept() -> Do:
    return Do(Verdict.ACCEPT)


def ends(text: str, *, source: bool) -> Box:
    """The case of a network or address, "" for anyone. Raises ValueError."""
    if not text:
        return {}
    got = ip_network(text, strict=False)
    side = "saddr" if source else "daddr"
    family = {Field.NFPROTO.value: point(IP4 if got.version == 4 else IP6)}
    return {**family, Field(f"{'ip' if got.version == 4 else 'ip6'} {side}"): network(got)}


def protocol(name: str) -> Ints | None:
    """None: any. Raises ValueError."""
    name = name.lower()
    if name in ("", "*", "-1", "all", "any"):
        return None
    if name.isdigit():
        return point(int(name))
    if name not in PROTOCOLS:
        raise ValueError(name)
    return point(PROTOCOLS[name])


def ports(texts: Iterable[str]) -> Ints | None:
    """Of "80", "1000-2000", "1000:2000", "*". None: any. Raises ValueError."""
    got: list[tuple[int, int]] = []
    for text in texts:
        if text in ("*", "", "0-65535"):
            return None
        low, _, high = text.replace(":", "-").partition("-")
        got += span(int(low), int(high or low))
    return joined(got) if got else None


def listed(value: object, what: str) -> list[object]:
    """Raises LintError."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise LintError(f"{what} is not a list")
    return value
