"""A plain list, for people and for scripts of their own: one `direction transport source -> destination` a line.

Room: core.
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.notes import commented, reasons
from ginnel.core.firewall.needs import Need, Plan


def write(plan: Plan) -> str:
    lines = commented("#", FORMAT.notes(plan))
    for need in plan.needs:
        lines += commented("#", reasons(need))
        lines += _lines(need)
    return "\n".join([*lines, ""])


def _lines(need: Need) -> Iterator[str]:
    port = need.port or "*"
    if need.direction == "in":
        yield f"in {need.transport} *:* -> self:{port}"
        return
    lead = f"out {need.transport} self:{need.source_port or '*'} ->"
    for target in targets(need):
        yield f"{lead} [{target}]:{port}" if ":" in target else f"{lead} {target}:{port}"


def targets(need: Need) -> list[str]:
    """Names and addresses in their order in the plan, each once; `*` is anywhere."""
    found = dict.fromkeys(text for host in need.hosts for text in (host.name, *map(str, host.addresses)) if text)
    return list(found) or ["*"]


FORMAT = Format(
    name="plain",
    about="a list to read",
    level="L3/FQDN",
    comment="#",
    apply="nothing reads it but you",
    body=write,
)
