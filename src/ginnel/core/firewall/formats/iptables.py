"""iptables and ip6tables in the form of iptables-restore: two chains to jump to.

Room: core. Loaded with --noflush the file replaces its own two chains at once and touches nothing else, so it may be
loaded again and again; the jump from OUTPUT and INPUT cannot be said that way without doubling, and stands beside it as
a command that asks first (iptables-restore(8)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ginnel.core.firewall.formats.check import CannotExpress
from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.notes import INSIDE, TUN, YOURS, commented, reasons, words
from ginnel.core.firewall.formats.targets import Family, Row, rows
from ginnel.core.firewall.needs import Direction, Plan

CHAIN = {"out": ("GINNEL-OUT", "OUTPUT"), "in": ("GINNEL-IN", "INPUT")}
PROGRAM = {4: "iptables", 6: "ip6tables"}
NEIGHBOURS = {
    "out": ("neighbour-solicitation", "neighbour-advertisement", "router-solicitation"),
    "in": ("packet-too-big", "neighbour-solicitation", "neighbour-advertisement", "router-advertisement"),
}


def write(family: Family) -> Callable[[Plan], str]:
    def body(plan: Plan) -> str:
        held = {d: [row for row in rows(plan, d) if row.family == family] for d in _directions(plan)}
        if not any(held.values()):
            raise CannotExpress(f"the plan has no rule for IPv{family}: only {PROGRAM[10 - family]} is needed")
        lines = commented("#", [*FORMATS_BY_FAMILY[family].notes(plan), *_where(family, list(held))])
        lines += ["*filter", *(f":{CHAIN[direction][0]} - [0:0]" for direction in held)]
        for direction, found in held.items():
            lines += _chain(direction, family, found)
        return "\n".join([*lines, "COMMIT", ""])

    return body


def _directions(plan: Plan) -> tuple[Direction, ...]:
    return ("out", "in") if any(need.direction == "out" for need in plan.needs) else ("in",)


def _where(family: Family, directions: list[Direction]) -> Iterator[str]:
    program = PROGRAM[family]
    yield "The first rule that matches decides, so a jump comes before your own drops."
    yield "After loading, as often as you like:"
    for direction in directions:
        ours, theirs = CHAIN[direction]
        yield f"  {program} -C {theirs} -j {ours} || {program} -I {theirs} 1 -j {ours}"
    if "out" in directions:
        yield "Both are needed: GINNEL-IN lets the answers in."
    yield f"{YOURS}."
    yield f"This is IPv{family} alone: load the twin, format {PROGRAM[10 - family]}, too."
    yield "A reboot forgets it, unless it is saved where your system loads its rules: netfilter-persistent save."
    yield "To take it all back:"
    for direction in directions:
        ours, theirs = CHAIN[direction]
        yield f"  {program} -D {theirs} -j {ours}"
        yield f"  {program} -F {ours}"
        yield f"  {program} -X {ours}"


def _chain(direction: Direction, family: Family, found: list[Row]) -> Iterator[str]:
    chain = CHAIN[direction][0]
    yield "# answers; and ICMP about these connections, such as `fragmentation needed`, which is RELATED"
    yield f"-A {chain} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
    if family == 6:
        yield "# IPv6 finds no neighbour without these"
        for kind in NEIGHBOURS[direction]:
            yield f"-A {chain} -p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j ACCEPT"
    for row in found:
        yield from commented("#", reasons(row.need))
        for target in row.to or (None,):
            to = f" -d {target}" if target else ""
            yield f"-A {chain}{to} {_match(row)} -j ACCEPT"
    yield from commented("#", [INSIDE, f"-A {chain} {'-o' if direction == 'out' else '-i'} {TUN} -j ACCEPT"])


def _match(row: Row) -> str:
    need = row.need
    parts = [f"-p {need.transport}"]
    if need.source_port or need.port:
        parts.append(f"-m {need.transport}")
    if need.source_port:
        parts.append(f"--sport {need.source_port}")
    if need.port:
        parts.append(f"--dport {need.port}")
    return " ".join([*parts, f'-m comment --comment "{words(f"ginnel {need.id}")}"'])


def _format(family: Family) -> Format:
    return Format(
        name=PROGRAM[family],
        about=f"chains to jump to, for this host, IPv{family}",
        level="L3",
        comment="#",
        apply=f"{PROGRAM[family]}-restore --noflush --test FILE, then the same without --test; never without --noflush",
        body=write(family),
        again="it replaces its own chains at once, touches no other, and the jumps are asked for first",
        undo="the commands below",
    )


FORMATS_BY_FAMILY: dict[Family, Format] = {4: _format(4), 6: _format(6)}
