"""pf (FreeBSD, OpenBSD, macOS, pfSense's core): the rules of an anchor.

Room: core. In pf the last match decides unless a rule is `quick`, which ours are; the anchor must therefore stand
before a `block quick`. A state lets answers and ICMP about the connection through. pf.conf(5).

Checked: Firewall Builder 5.3.7 imports the IPv4 rules and tables and sees direction, ports and order as meant (it reads
no IPv6 and no ICMPv6 in pf); Aerleon 1.18 writes the same lines for the same policy.
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.notes import YOURS, commented, reasons
from ginnel.core.firewall.formats.targets import Row, needs_of, rows
from ginnel.core.firewall.needs import Plan

INET = {4: "inet", 6: "inet6"}
WHERE = (
    "Once, in /etc/pf.conf, among the filter rules and before any `block ... quick`:",
    '  anchor "ginnel"',
    '  load anchor "ginnel" from "/etc/pf.anchors/ginnel"',
    "On a router these rules are about packets that leave it: let them in on the inner interface too.",
    f"{YOURS}.",
)
NEIGHBOURS = "pass quick inet6 proto icmp6 icmp6-type { toobig, neighbrsol, neighbradv, routersol, routeradv }"


def write(plan: Plan) -> str:
    found = [*rows(plan, "out"), *rows(plan, "in")]
    lines = commented("#", [*FORMAT.notes(plan), *WHERE])
    lines += [line for row in found if row.to for line in _table(row)]
    if any(row.family == 6 for row in found):
        lines += ["# IPv6 finds no neighbour without these", NEIGHBOURS]
    said: set[str] = set()
    for row in found:
        if row.need.id not in said:
            lines += commented("#", reasons(row.need))
            said.add(row.need.id)
        lines.append(_rule(row))
    return "\n".join([*lines, ""])


def _table(row: Row) -> Iterator[str]:
    yield f"table <{row.set_name}> const {{ \\"
    for address in row.to[:-1]:
        yield f"  {address}, \\"
    yield f"  {row.to[-1]} }}"


def _rule(row: Row) -> str:
    need = row.need
    parts = [f"pass {need.direction} quick {INET[row.family]} proto {need.transport} from any"]
    if need.source_port:
        parts.append(f"port {need.source_port}")
    parts.append(f"to <{row.set_name}>" if row.to else "to any")
    if need.port:
        parts.append(f"port {need.port}")
    return " ".join([*parts, "keep state"])


def remarks(plan: Plan) -> Iterator[str]:
    if any(need.source_port for need in plan.needs):
        yield "where this machine translates addresses, rules on the way out see the new port: use static-port for ours"
    if needs_of(plan, "in"):
        yield "behind this router's own NAT the way in needs an `rdr` to the machine as well"


FORMAT = Format(
    name="pf",
    about="an anchor for FreeBSD, OpenBSD and macOS",
    level="L3",
    comment="#",
    apply="save as /etc/pf.anchors/ginnel; pfctl -n -a ginnel -f FILE to check, then the same without -n",
    body=write,
    again="it replaces the anchor's rules and tables at once",
    undo="pfctl -a ginnel -F all; and the two lines in /etc/pf.conf",
    remarks=remarks,
)
