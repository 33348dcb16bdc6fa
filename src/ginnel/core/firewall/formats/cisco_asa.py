"""Cisco ASA (9.x): network objects that it resolves itself, groups of them, and an access list.

Room: core. An ASA keeps state, so answers pass; since 9.0 one access list holds both families, and `any` is both. An
interface has one access list, in which the first match decides, so the lines are for the top of yours. A question mark
on its console asks for help; ours have none.

Checked: Firewall Builder 5.3.7 imports the lists as meant, interfaces and direction too (FQDN objects are newer than
it is); Aerleon 1.18 writes the same entries for the same policy.
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.notes import commented, object_name, reasons, words
from ginnel.core.firewall.formats.targets import needs_of, to_resolve
from ginnel.core.firewall.needs import Need, Plan
from ginnel.words import IpAddress

ANY = {4: "any4", 6: "any6"}


def write(plan: Plan) -> str:
    lines = commented("!", [*FORMAT.notes(plan), *_where(plan)])
    for name in sorted({name for need in plan.needs for name in to_resolve(need).names}):
        lines += _objects(name)
    for need in plan.needs:
        if need.hosts:
            lines += _group(need)
    for need in plan.needs:
        lines += commented("!", reasons(need))
        lines += _entries(need)
    return "\n".join([*lines, ""])


def _where(plan: Plan) -> Iterator[str]:
    yield "The first match decides: these lines come before your own denies. Where an interface has no access list yet:"
    for direction, interface in (("out", "inside"), ("in", "outside")):
        if any(need.direction == direction for need in plan.needs):
            yield f"  access-group ginnel-{direction} in interface {interface}"
    yield "A list ends in an implicit deny, which an interface without one has not: first permit what else may pass."
    yield "Large packets need ICMP errors through NAT: policy-map global_policy, inspection_default, inspect icmp error"


def _objects(name: str) -> Iterator[str]:
    for family in (4, 6):
        yield f"object network {_object(name, family)}"
        yield f" fqdn v{family} {name}"


def _object(name: str, family: int) -> str:
    return f"{object_name(name, 61)}-v{family}"  # an object's name has 64 characters


def _group(need: Need) -> Iterator[str]:
    yield f"object-group network ginnel-{need.id}"
    targets = to_resolve(need)
    for name in targets.names:
        for family in need.families:
            yield f" network-object object {_object(name, family)}"
    for address in targets.addresses:
        if address.version in need.families:
            yield f" network-object {_host(address)}"


def _host(address: IpAddress) -> str:
    return f"host {address}" if address.version == 4 else f"{address}/128"


def _entries(need: Need) -> Iterator[str]:
    acl = f"access-list ginnel-{need.direction}"
    yield f"{acl} remark {words(f'ginnel {need.id}: {need.why}', 100)}"
    source = f" eq {need.source_port}" if need.source_port else ""
    port = f" eq {need.port}" if need.port else ""
    if need.hosts:
        anys = "any" if len(need.families) == 2 else ANY[need.families[0]]
        yield f"{acl} extended permit {need.transport} {anys}{source} object-group ginnel-{need.id}{port}"
        return
    for anys in ["any"] if len(need.families) == 2 else [ANY[family] for family in need.families]:
        yield f"{acl} extended permit {need.transport} {anys}{source} {anys}{port}"


def remarks(plan: Plan) -> Iterator[str]:
    if any(need.hosts for need in plan.needs):
        yield "names are resolved by the ASA: it needs `dns domain-lookup` on an interface and a name server"
    if needs_of(plan, "in"):
        yield "behind NAT the way in needs a static rule to the machine as well"


FORMAT = Format(
    name="cisco-asa",
    about="objects and an access list for ASA 9",
    level="L3/FQDN",
    comment="!",
    apply="paste in `configure terminal`; `write memory` to keep it",
    body=write,
    again="an entry that is there is not doubled; one that is no longer here stays: take it out by `no`",
    undo="no access-group ..., clear configure access-list ginnel-out and ginnel-in, then no object-group, no object",
    remarks=remarks,
)
