"""What the clouds' security groups have in common: one entry for each need, family and piece of a long list.

Room: core.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ginnel.core.firewall.formats.targets import ANYWHERE, Family, rows_of
from ginnel.core.firewall.needs import Need, Plan


@dataclass(frozen=True, slots=True)
class Entry:
    """cidrs: never empty; `0.0.0.0/0` or `::/0` is anywhere. For a way in they are the sources. first: of its need."""

    need: Need
    family: Family
    piece: int
    cidrs: tuple[str, ...]
    first: bool

    @property
    def name(self) -> str:
        return f"ginnel-{self.need.id}-v{self.family}" + (f"-{self.piece}" if self.piece else "")

    @property
    def ports(self) -> str:
        return str(self.need.port) if self.need.port else "0-65535"


def entries(plan: Plan, longest: int) -> Iterator[Entry]:
    """longest: how many ranges a rule of this cloud takes."""
    for need in plan.needs:
        found = rows_of(need)
        for row in found:
            cidrs = tuple(f"{a}/{a.max_prefixlen}" for a in row.to) or (ANYWHERE[row.family],)
            for piece, start in enumerate(range(0, len(cidrs), longest)):
                yield Entry(need, row.family, piece, cidrs[start : start + longest], not piece and row is found[0])


def without_source_ports(plan: Plan) -> Iterator[str]:
    for need in plan.needs:
        if need.direction == "out" and need.source_port and not need.port:
            yield f"{need.id}: wider than needed, since these rules know no source port: all outbound {need.transport}"
