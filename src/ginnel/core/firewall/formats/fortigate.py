"""FortiGate (FortiOS 6.4 and later): address objects by FQDN, groups, services and policies for both families.

Room: core. FortiOS resolves the FQDN objects itself. Wildcard FQDN objects are no substitute: they learn addresses from
the DNS answers of clients, and clients may dial an address straight from the DERP map (tailscale/tailscale issue
15217). A service's ports read `destination:source`.

Checked: the FortiOS parser of anyconfig reads every section, object and setting back, but `append`, which it does not
know; Aerleon 1.18 writes the same objects and policies for the same policy, all but the source port, which it lacks.
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.notes import commented, label, object_name, reasons
from ginnel.core.firewall.formats.targets import Family, needs_of, to_resolve
from ginnel.core.firewall.needs import Need, Plan
from ginnel.words import IpAddress

MEMBERS = 200  # of a group: the smallest models take 300
TO_A_LINE = 20  # members: a console's line has its limit
SIX = {4: "", 6: "6"}
SIDES = {"out": ("internal", "wan1"), "in": ("wan1", "internal")}


def write(plan: Plan) -> str:
    lines = commented("#", FORMAT.notes(plan))
    for family in (4, 6):
        lines += _section(f"config firewall address{SIX[family]}", _addresses(plan, family))
        lines += _section(f"config firewall addrgrp{SIX[family]}", _groups(plan, family))
    lines += _section("config firewall service custom", (line for need in plan.needs for line in _service(need)))
    lines += _section("config firewall policy", (line for need in plan.needs for line in _policy(need)))
    return "\n".join([*lines, ""])


def _section(head: str, inner: Iterator[str]) -> list[str]:
    lines = [f"    {line}" for line in inner]
    return [head, *lines, "end"] if lines else []


def _edit(name: str, *settings: str) -> Iterator[str]:
    yield f"edit {name}"
    yield from (f"    set {setting}" for setting in settings)
    yield "next"


def _addresses(plan: Plan, family: Family) -> Iterator[str]:
    needs = [need for need in plan.needs if family in need.families]
    for name in sorted({name for need in needs for name in to_resolve(need).names}):
        yield from _edit(f'"{_object(name)}"', "type fqdn", f'fqdn "{name}"')
    found = {a for need in needs for a in to_resolve(need).addresses if a.version == family}
    for address in sorted(found, key=int):
        yield from _edit(f'"{_object(str(address))}"', _subnet(address))


def _subnet(address: IpAddress) -> str:
    return f"subnet {address} 255.255.255.255" if address.version == 4 else f"ip6 {address}/128"


def _object(name: str) -> str:
    return "ginnel-" + object_name(name, 55)


def _members(need: Need, family: Family) -> list[str]:
    targets = to_resolve(need)
    addresses = [str(address) for address in targets.addresses if address.version == family]
    return [_object(name) for name in (*targets.names, *addresses)]


def _group_names(need: Need, family: Family) -> list[str]:
    pieces = -(-len(_members(need, family)) // MEMBERS)
    return [f'"ginnel-{need.id}-{number}"' for number in range(1, pieces + 1)]


def _groups(plan: Plan, family: Family) -> Iterator[str]:
    for need in plan.needs:
        if family not in need.families:
            continue
        members = _members(need, family)
        for piece, name in enumerate(_group_names(need, family)):
            some = members[piece * MEMBERS : (piece + 1) * MEMBERS]
            yield from _group(name, [f'"{member}"' for member in some])


def _group(name: str, members: list[str]) -> Iterator[str]:
    """`set` forgets the former members, `append` adds to it."""
    yield f"edit {name}"
    for first in range(0, len(members), TO_A_LINE):
        yield f"    {'append' if first else 'set'} member {' '.join(members[first : first + TO_A_LINE])}"
    yield "next"


def _service(need: Need) -> Iterator[str]:
    port = need.port or "1-65535"
    source = f":{need.source_port}" if need.source_port else ""
    yield from _edit(
        f'"ginnel-{need.id}"', f"{need.transport}-portrange {port}{source}", f'comment "{label(need, 200)}"'
    )


def _policy(need: Need) -> Iterator[str]:
    """One for each family: NAT is for IPv4 alone."""
    yield from commented("#", reasons(need))
    source, destination = SIDES[need.direction]
    for family in need.families:
        targets = _group_names(need, family) if need.hosts else ['"all"']
        if not targets:
            continue
        settings = [f'name "ginnel-{need.id}-v{family}"', f'srcintf "{source}"', f'dstintf "{destination}"']
        settings += ["action accept", f'srcaddr{SIX[family]} "all"', f"dstaddr{SIX[family]} {' '.join(targets)}"]
        settings += ['schedule "always"', f'service "ginnel-{need.id}"']
        settings += ["nat enable"] if need.direction == "out" and family == 4 else []
        yield from _edit("0", *settings, f'comments "{label(need, 200)}"')


def remarks(plan: Plan) -> Iterator[str]:
    yield 'put your interfaces for "internal" and "wan1"; never "any", which would let strangers in by the way out'
    yield "the first policy that matches decides: move these before your denies; leave out `set nat` where none is due"
    yield "do not deep-inspect these: a certificate of the firewall's own is refused by nodes"
    if any(need.hosts for need in plan.needs):
        yield "no wildcard FQDN objects: nodes may dial addresses of the DERP map without asking DNS"
    if needs_of(plan, "in"):
        yield "behind NAT the way in needs a virtual IP (config firewall vip) as destination"


FORMAT = Format(
    name="fortigate",
    about="FQDN objects, services and policies for FortiOS 6.4 or later",
    level="L3/FQDN",
    comment="#",
    apply="upload as a configuration script (System, Advanced or Configuration Scripts), or paste into the console",
    body=write,
    again="addresses, groups and services are brought up to date; a policy whose name is there is refused and stays",
    undo="delete the policies ginnel-*, then the services, groups and addresses of that name",
    remarks=remarks,
)
