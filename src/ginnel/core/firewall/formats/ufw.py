"""ufw: commands, as the answer to "which port?" gives them: `ufw allow 41641/udp`.

Room: core. ufw's own chains let answers, ICMP about connections and IPv6's neighbours through (ufw: before.rules), and
`any` stands for both families. Its comments refuse quotes; ours have none.
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.notes import INSIDE, TUN, YOURS, commented, reasons, words
from ginnel.core.firewall.formats.targets import ANYWHERE, Row, needs_of, rows_of
from ginnel.core.firewall.needs import Need, Plan


def write(plan: Plan) -> str:
    lines = commented("#", FORMAT.notes(plan))
    for need in plan.needs:
        lines += commented("#", reasons(need))
        lines += allow_in(need) if need.direction == "in" else _allow_out(need)
    sides = [side for side in ("out", "in") if needs_of(plan, side)]
    lines += commented("#", [INSIDE, *(f"ufw allow {side} on {TUN}" for side in sides)])
    return "\n".join([*lines, ""])


def allow_in(need: Need) -> list[str]:
    """The command that opens one port: exactly what the documents say where both families are meant."""
    if len(need.families) == 2:
        return [f"ufw allow {need.port}/{need.transport}"]
    return [f"ufw allow proto {need.transport} to {ANYWHERE[need.families[0]]} port {need.port}"]


def _allow_out(need: Need) -> Iterator[str]:
    found = rows_of(need)
    if not need.hosts and len(found) == 2:
        yield _out(need, "any")
        return
    for row in found:
        for to in row.to or (ANYWHERE[row.family],):
            yield _out(need, str(to), row)


def _out(need: Need, to: str, row: Row | None = None) -> str:
    parts = [f"ufw allow out proto {need.transport}"]
    if need.source_port:
        source = "any" if row is None else ANYWHERE[row.family]
        parts.append(f"from {source} port {need.source_port}")
    parts.append(f"to {to}")
    if need.port:
        parts.append(f"port {need.port}")
    return " ".join([*parts, f"comment '{words(f'ginnel {need.id}')}'"])


def remarks(plan: Plan) -> Iterator[str]:
    yield "the first rule that matches decides: where a deny of yours stands before, delete it or say `ufw prepend`"
    yield YOURS
    if any(need.hosts for need in plan.needs):
        yield "an address that has left the list keeps its rule here: `ginnel firewall sync` takes it out"
    if not needs_of(plan, "out"):
        yield "ufw lets outbound connections through unless it was told `ufw default deny outgoing`"


FORMAT = Format(
    name="ufw",
    about="commands for this host",
    level="L3",
    comment="#",
    apply="sudo sh FILE; `ufw status numbered` shows the result",
    body=write,
    again="ufw skips a rule that it has",
    undo="sed -n 's/^ufw allow/ufw delete allow/p' FILE | sudo sh",
    remarks=remarks,
)
