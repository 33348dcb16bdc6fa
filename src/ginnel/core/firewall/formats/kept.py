"""The command that keeps a pinned set current, for the comments of formats that make named sets.

Room: core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ginnel.core.firewall.formats.notes import line
from ginnel.core.firewall.formats.targets import Row, rows_of
from ginnel.core.firewall.needs import Plan, Role

LONGEST = 300
"""Of the options: beyond, the comment would be cut."""


def commands(plan: Plan, backend: str, prefix: str, name: Callable[[Row], str]) -> Iterator[str]:
    """One `ginnel firewall sync` for each need with sets; its --set has the set for IPv4, a comma, the one for IPv6."""
    for need in plan.needs:
        if not need.hosts:
            continue
        sets = {row.family: name(row) for row in rows_of(need)}
        named = f"{prefix}{sets.get(4, '')},{sets.get(6, '')}".rstrip(",")
        roles = {host.role for host in need.hosts}
        of = " --role relay" if roles == {Role.RELAY} else ""
        yield f"ginnel firewall sync --watch --backend {backend} --set {named}{of}{_mesh(plan)}"


def _mesh(plan: Plan) -> str:
    """A command that a comment cannot hold as it is would be another one."""
    if len(plan.again) > LONGEST or line(plan.again) != plan.again:
        return ", with the options that name the mesh here"
    return f" {plan.again}" if plan.again else ""
