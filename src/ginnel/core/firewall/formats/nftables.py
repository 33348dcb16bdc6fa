"""nftables: two regular chains to jump to.

Room: core. An accept in one base chain does not undo a drop in another: every base chain of a hook sees the packet
(nft(8), "accept ... the packet continues to the next base chain"). A table of our own with base chains would therefore
allow nothing beside a default-deny output chain. So the rules are in regular chains, in the table that holds the
policy, and that chain jumps to them. `nft -f` applies the file whole or not at all, as often as one likes.
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.kept import commands
from ginnel.core.firewall.formats.notes import INSIDE, TUN, YOURS, commented, reasons
from ginnel.core.firewall.formats.targets import Row, rows
from ginnel.core.firewall.needs import Direction, Plan

TABLE = "inet filter"  # Debian's, Fedora's and Arch's /etc/nftables.conf name it so
ELEMENTS = 50  # to a line
TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}
DADDR = {4: "ip daddr", 6: "ip6 daddr"}
HOOK = {"out": "output", "in": "input"}
NAME = {"out": "oifname", "in": "iifname"}
NFPROTO = {4: "ipv4", 6: "ipv6"}

STATE = (
    "# answers; and ICMP about these connections, such as `fragmentation needed`, which is `related`",
    "ct state established,related accept",
)
IPV6 = {
    "out": "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept",
    "in": "icmpv6 type { packet-too-big, nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept",
}


def write(plan: Plan) -> str:
    held = {direction: rows(plan, direction) for direction in _directions(plan)}
    sets = [row.set_name for found in held.values() for row in found if row.to]
    lines = commented("#", [*FORMAT.notes(plan), *_where(tuple(held), sets)])
    lines += ["", f"add table {TABLE}"]
    for direction, found in held.items():
        lines += [f"{verb} chain {TABLE} ginnel_{direction}" for verb in ("add", "flush")]
        lines += [line for row in found if row.to for line in _set(row)]
    lines += ["", f"table {TABLE} {{"]
    for direction, found in held.items():
        lines += [f"\t{line}" if line else line for line in _chain(direction, found)]
    return "\n".join([*lines, "}", ""])


def _directions(plan: Plan) -> tuple[Direction, ...]:
    """A plan that only lets in needs no chain out; one that goes out wants its answers in."""
    return ("out", "in") if any(need.direction == "out" for need in plan.needs) else ("in",)


def _where(directions: tuple[Direction, ...], sets: list[str]) -> Iterator[str]:
    """No line of it denies anything: somebody may copy it on a machine that is far away."""
    yield "An accept in one base chain does not undo a drop in another, so these are no base chains: your own jump to"
    yield f"them, before they drop. They are in the same table: where yours is not {TABLE}, replace that in this file."
    yield "After loading, as often as you like:"
    for direction in directions:
        hook, jump = f"{TABLE} {HOOK[direction]}", f"jump ginnel_{direction}"
        yield f"  nft list chain {hook} | grep -q '{jump}' || nft insert rule {hook} {jump}"
    jumps = ", ".join(f"jump ginnel_{direction} in chain {HOOK[direction]}" for direction in directions)
    yield f"or in /etc/nftables.conf, below a line that includes this file: {jumps}."
    if "out" in directions:
        yield "Both jumps are needed: ginnel_in lets the answers in."
    yield f"{YOURS}."
    yield "To take it all back:"
    for direction in directions:
        hook, handle = f"{TABLE} {HOOK[direction]}", f"s/.*jump ginnel_{direction} # handle //p"
        yield f"  nft -a list chain {hook} | sed -n '{handle}' | xargs -rn1 nft delete rule {hook} handle"
        yield f"  nft flush chain {TABLE} ginnel_{direction}"
        yield f"  nft delete chain {TABLE} ginnel_{direction}"
    for name in sets:
        yield f"  nft delete set {TABLE} {name}"


def _set(row: Row) -> Iterator[str]:
    yield f"add set {TABLE} {row.set_name} {{ type {TYPE[row.family]}; }}"
    yield f"flush set {TABLE} {row.set_name}"
    for first in range(0, len(row.to), ELEMENTS):
        some = ", ".join(str(address) for address in row.to[first : first + ELEMENTS])
        yield f"add element {TABLE} {row.set_name} {{ {some} }}"


def _chain(direction: Direction, found: list[Row]) -> Iterator[str]:
    yield f"chain ginnel_{direction} {{"
    for line in (*STATE, "# IPv6 finds no neighbour without these", IPV6[direction]):
        yield f"\t{line}"
    said: set[str] = set()
    for row in found:
        if row.need.id in said and not row.to:
            continue  # one rule for both families
        if row.need.id not in said:
            yield from (f"\t{line}" for line in commented("#", reasons(row.need)))
        said.add(row.need.id)
        yield f"\t{_rule(row)}"
    yield from (f"\t{line}" for line in commented("#", [INSIDE, f'{NAME[direction]} "{TUN}" accept']))
    yield "}"


def _rule(row: Row) -> str:
    need, parts = row.need, []
    if row.to:
        parts.append(f"{DADDR[row.family]} @{row.set_name}")
    elif len(need.families) == 1:
        parts.append(f"meta nfproto {NFPROTO[row.family]}")
    if need.source_port:
        parts.append(f"{need.transport} sport {need.source_port}")
    if need.port:
        parts.append(f"{need.transport} dport {need.port}")
    if not need.source_port and not need.port:
        parts.append(f"meta l4proto {need.transport}")
    return " ".join([*parts, "accept"])


def remarks(plan: Plan) -> Iterator[str]:
    prefix = TABLE.replace(" ", "/") + "/"
    for command in commands(plan, "nftables", prefix, lambda row: row.set_name):
        yield f"keeps a set current, until this file is loaded again: {command}"


FORMAT = Format(
    name="nftables",
    about="chains to jump to, for this host",
    level="L3",
    comment="#",
    apply="nft -c -f FILE to check, then nft -f FILE; include it in /etc/nftables.conf to keep it",
    body=write,
    again="it replaces its own chains and sets at once and leaves everything else in the table as it is",
    undo="the commands below; and the jumps and the include in /etc/nftables.conf, if you put them there",
    remarks=remarks,
)
