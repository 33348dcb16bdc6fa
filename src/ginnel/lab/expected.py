"""What each pair of kinds shall come to: direct by which technique and within which time, or relayed.

Room: lab. Written from reasoning, before anything was measured; docs/nat-traversal.md gives the reasoning and shows the
table, and a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ginnel.lab.kinds import KINDS, kind_named
from ginnel.lab.traits import Traits

Role = Literal["open", "address", "easy", "bare", "sequential", "hard", "blocked"]
Technique = Literal["local", "answer", "mapping", "punch", "quiet-punch", "prediction", "birthday", "relay"]

BY_CHANCE: tuple[Technique, ...] = ("quiet-punch", "prediction", "birthday")  # both ends must take part
LETTERS: dict[Technique, str] = {
    "local": "L",
    "answer": "A",
    "mapping": "M",
    "punch": "P",
    "quiet-punch": "Q",
    "prediction": "S",
    "birthday": "B",
    "relay": "r",
}
MATRIX = [kind for kind in KINDS if kind != "443-only" and not kind_named(kind).traits.v6]  # 443-only is udp-blocked
MATRIX_V6 = [*(kind for kind in KINDS if kind_named(kind).traits.v6), "none", "easy", "hard-random"]
ORDINARY, PROBING, BARE = 5.0, 20.0, 35.0  # seconds to direct, at both ends
OFFICIAL = 12.0  # its next round comes after 5 s, and one round may fail (tailscale: wgengine/magicsock/endpoint.go)

# Who is in reach of whom. Rows and columns are symmetric, so half of it says all.
TABLE: dict[tuple[Role, Role], Technique] = {
    ("open", "open"): "answer",
    ("open", "address"): "answer",
    ("open", "easy"): "answer",
    ("open", "bare"): "answer",
    ("open", "sequential"): "answer",
    ("open", "hard"): "answer",
    ("address", "address"): "punch",
    ("address", "easy"): "punch",
    ("address", "bare"): "punch",
    ("address", "sequential"): "punch",
    ("address", "hard"): "punch",
    ("easy", "easy"): "punch",
    ("easy", "bare"): "quiet-punch",
    ("easy", "sequential"): "prediction",
    ("easy", "hard"): "birthday",
    ("bare", "bare"): "quiet-punch",
    ("bare", "sequential"): "prediction",
    ("bare", "hard"): "birthday",
    ("sequential", "sequential"): "prediction",
    ("sequential", "hard"): "relay",
    ("hard", "hard"): "relay",
}


@dataclass(frozen=True, slots=True)
class Expected:
    """within: seconds to direct at both ends, None for a pair that stays relayed."""

    technique: Technique
    within: float | None

    @property
    def path(self) -> Literal["direct", "relay"]:
        return "relay" if self.technique == "relay" else "direct"


def role(side: Traits) -> Role:
    """How a side looks to the other: all that matters for who can reach whom."""
    if not side.udp:
        return "blocked"
    if side.open_port or side.maps_by:
        return "open"
    if side.mapping not in ("none", "endpoint-independent"):
        return "sequential" if side.ports == "sequential" else "hard"
    if side.filtering == "endpoint-independent":
        return "open"
    if side.filtering == "address-dependent":
        return "address"
    return "bare" if side.early_probe_steals_port else "easy"


def expected(a: Traits, b: Traits) -> Expected:
    """For two of our nodes, by whichever family gives the better path."""
    found = expected_v4(a, b)
    if found.technique in ("relay", *BY_CHANCE) and a.v6 and b.v6:
        return Expected("punch", ORDINARY)
    return found


def expected_v4(a: Traits, b: Traits) -> Expected:
    roles = role(a), role(b)
    if "blocked" in roles:
        return Expected("relay", None)
    if a.same_lan and b.same_lan:
        return Expected("local", ORDINARY)
    technique: Technique = TABLE.get(roles) or TABLE[roles[::-1]]
    if technique == "answer" and not (opens_by_itself(a) or opens_by_itself(b)):
        technique = "mapping"
    if technique == "relay":
        return Expected(technique, None)
    return Expected(technique, limit(technique, roles))


def opens_by_itself(side: Traits) -> bool:
    return role(side) == "open" and not side.maps_by


def limit(technique: Technique, roles: tuple[Role, Role]) -> float:
    if technique in BY_CHANCE:
        return BARE if "bare" in roles else PROBING
    return ORDINARY


def expected_with_official(a: Traits, b: Traits) -> Expected:
    """Where one end is Tailscale's, and `a` speaks first: what needs both ends to do something that theirs does not
    stays relayed. A bare Linux NAT that speaks first has made its mapping before anybody's probe can take its port."""
    found = expected(a, b)
    if (role(a), role(b), found.technique) == ("bare", "easy", "quiet-punch"):
        return Expected("punch", OFFICIAL)
    if found.technique in BY_CHANCE:
        return Expected("relay", None)
    return found if found.within is None else Expected(found.technique, OFFICIAL)


def left_to_chance(a: Traits, b: Traits) -> bool:
    """With an official end, where a bare Linux NAT is spoken to, whose probe is earlier decides: nothing can be
    expected."""
    return role(b) == "bare" and expected(a, b).technique == "quiet-punch"


def grid(kinds: list[str]) -> str:
    """The table in Markdown, a letter for each ordered pair."""
    head = ["speaks first \\ answers", *(KINDS[kind].short for kind in kinds)]
    rows = [
        [kind, *(LETTERS[expected(kind_named(kind).traits, kind_named(other).traits).technique] for other in kinds)]
        for kind in kinds
    ]
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
