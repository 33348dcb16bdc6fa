"""MikroTik RouterOS 7: a script of two chains and of address lists, whose names the router resolves itself.

Room: core. The first match decides. The chains are only jumped to between the right interfaces: a jump from `forward`
without them would let strangers in by TCP 443. In RouterOS' strings `$`, `[` and `\\` mean something; ours have none.

Checked: mikrotikrscparser reads back every entry of 200 relays and of hostile texts.
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.notes import commented, label, reasons
from ginnel.core.firewall.formats.targets import Family, needs_of, to_resolve
from ginnel.core.firewall.needs import Direction, Need, Plan

MENU = {4: "/ip firewall", 6: "/ipv6 firewall"}
JUMP = {"out": "in-interface-list=LAN out-interface-list=WAN", "in": "in-interface-list=WAN out-interface-list=LAN"}


def write(plan: Plan) -> str:
    lines = commented("#", [*FORMAT.notes(plan), *_where(plan)])
    for family in (4, 6):
        for menu in ("filter", "address-list"):
            lines.append(f'{MENU[family]} {menu} remove [find where comment~"^ginnel "]')
    for need in plan.needs:
        lines += commented("#", reasons(need))
        for family in need.families:
            lines += _list(need, family)
            lines.append(_rule(need, family))
    return "\n".join([*lines, ""])


def _directions(plan: Plan) -> list[Direction]:
    return [direction for direction in ("out", "in") if needs_of(plan, direction)]


def _where(plan: Plan) -> Iterator[str]:
    yield "Once, before your own drops (`print` shows their numbers), in /ip firewall filter and /ipv6 firewall filter:"
    yield "  add chain=forward action=accept connection-state=established,related place-before=0"
    for direction in _directions(plan):
        yield f"  add chain=forward action=jump jump-target=ginnel-{direction} {JUMP[direction]} place-before=1"
    yield "The first lets answers in, and ICMP about them such as `fragmentation needed`."
    yield "Keep the interfaces in them: without, the rules for the way out would let strangers in."


def _list(need: Need, family: Family) -> Iterator[str]:
    targets = to_resolve(need)
    here = [str(address) for address in targets.addresses if address.version == family]
    for target in (*targets.names, *here):
        yield f'{MENU[family]} address-list add list=ginnel-{need.id} address={target} comment="ginnel {need.id}"'


def _rule(need: Need, family: Family) -> str:
    parts = [f"{MENU[family]} filter add chain=ginnel-{need.direction} protocol={need.transport}"]
    if need.source_port:
        parts.append(f"src-port={need.source_port}")
    if need.port:
        parts.append(f"dst-port={need.port}")
    if need.hosts:
        parts.append(f"dst-address-list=ginnel-{need.id}")
    return " ".join([*parts, f'action=accept comment="{label(need)}"'])


def remarks(plan: Plan) -> Iterator[str]:
    if needs_of(plan, "in"):
        yield "behind NAT the way in needs a dst-nat to the machine as well"
    if any(need.hosts for need in plan.needs):
        yield "the router resolves the names of an address list again when their TTL ends"


FORMAT = Format(
    name="mikrotik",
    about="a script for RouterOS 7",
    level="L3/FQDN",
    comment="#",
    apply="upload as ginnel.rsc, then /import file-name=ginnel.rsc",
    body=write,
    again="it removes what it added, known by comments that begin with `ginnel `, and adds it anew",
    undo='its lines with `remove`; and the jumps: remove [find where jump-target~"^ginnel-"], in both filters',
    remarks=remarks,
)
