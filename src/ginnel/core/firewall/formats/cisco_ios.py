"""Cisco IOS and IOS XE: extended access lists, out and back, for both families.

Room: core. They keep no state, so each rule has its answer: TCP by `established`, UDP by its ports turned round. With a
random source port the way back would be all of UDP: that is refused. IPv6 lists let neighbour discovery pass unless a
deny of one's own comes first; `packet-too-big` they do not, and without it large packets vanish, nor a machine's
question for routers.

Checked: Firewall Builder 5.3.7 and cisco-acl 3.3 read the IPv4 lists as meant, in their order; Aerleon 1.18 writes the
same entries, of both families, for the same policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ginnel.core.firewall.formats.check import CannotExpress
from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.notes import commented, reasons, words
from ginnel.core.firewall.formats.targets import Family, Row, needs_of, rows
from ginnel.core.firewall.needs import Need, Plan

LIST = {4: "ip access-list extended", 6: "ipv6 access-list"}
NEIGHBOURS = {"GINNEL-OUT": ("nd-na", "nd-ns", "router-solicitation"), "GINNEL-BACK": ("nd-na", "nd-ns")}
WHERE = (
    "On the interface towards the machines (`in` is what they send, `out` what comes back):",
    "  ip access-group GINNEL-OUT4 in / ip access-group GINNEL-BACK4 out",
    "  ipv6 traffic-filter GINNEL-OUT6 in / ipv6 traffic-filter GINNEL-BACK6 out",
    "A list ends in an implicit deny: append what else may pass before you apply it.",
)


def write(plan: Plan) -> str:
    _refuse_wide_answers(plan)
    lines = commented("!", [*FORMAT.notes(plan), *WHERE])
    out, back = rows(plan, "out"), rows(plan, "in")
    for family in (4, 6):
        mine = [row for row in out if row.family == family]
        theirs = [row for row in back if row.family == family]
        if mine or theirs:
            lines += _list(family, "GINNEL-OUT", _out(mine, theirs))
            lines += _list(family, "GINNEL-BACK", _back(mine, theirs))
    return "\n".join([*lines, ""])


def _refuse_wide_answers(plan: Plan) -> None:
    for need in needs_of(plan, "out"):
        if need.transport == "udp" and not need.port and not need.source_port:
            raise CannotExpress(
                f"need {need.id} has no fixed port, and IOS access lists keep no state: its answers would be all of"
                " UDP. Give the daemon a fixed --port, or use a firewall that keeps state"
            )


@dataclass(frozen=True, slots=True)
class _Block:
    """Entries, and what is said before them."""

    need: Need
    told: list[str]
    entries: list[str]


def _list(family: Family, name: str, blocks: Iterable[_Block]) -> Iterator[str]:
    """No entry twice: IOS complains of it."""
    yield f"no {LIST[family]} {name}{family}"
    yield f"{LIST[family]} {name}{family}"
    seen: set[str] = set()
    for block in blocks:
        new = [entry for entry in block.entries if entry not in seen]
        yield from (*block.told, *new) if new else [f"! {block.need.id}: by an entry above"]
        seen.update(new)
    yield from _icmp(family, name)
    yield "exit"


def _out(mine: list[Row], theirs: list[Row]) -> Iterator[_Block]:
    for row in mine:
        told = [*commented("!", reasons(row.need)), _remark(row.need)]
        source, port = _eq(row.need.source_port), _eq(row.need.port)
        yield _Block(row.need, told, [f" permit {row.need.transport} any{source} {to}{port}" for to in _to(row)])
    for row in theirs:
        told = [*commented("!", reasons(row.need)), _remark(row.need, "answers to ")]
        yield _Block(row.need, told, [f" permit {row.need.transport} any{_eq(row.need.port)} any"])


def _back(mine: list[Row], theirs: list[Row]) -> Iterator[_Block]:
    for row in mine:
        ending = _eq(row.need.source_port) + (" established" if row.need.transport == "tcp" else "")
        port = _eq(row.need.port)
        answers = [f" permit {row.need.transport} {to}{port} any{ending}" for to in _to(row)]
        yield _Block(row.need, [_remark(row.need, "answers to ")], answers)
    for row in theirs:
        yield _Block(row.need, [_remark(row.need)], [f" permit {row.need.transport} any any{_eq(row.need.port)}"])


def _icmp(family: Family, name: str) -> Iterator[str]:
    yield " permit icmp any any packet-too-big"
    if family == 6:
        yield from (f" permit icmp any any {kind}" for kind in NEIGHBOURS[name])


def _to(row: Row) -> list[str]:
    return [f"host {address}" for address in row.to] or ["any"]


def _eq(port: int | None) -> str:
    return f" eq {port}" if port else ""


def _remark(need: Need, lead: str = "") -> str:
    return f" remark {words(f'{lead}ginnel {need.id}: {need.why}', 90)}"


def remarks(plan: Plan) -> Iterator[str]:
    yield "these lists keep no state: a zone-based firewall that inspects tcp and udp is narrower"
    if any(need.source_port for need in needs_of(plan, "out")):
        yield "the tunnel's port is open from outside with them, whether tunnel-in is wanted or not"
    if any(not need.hosts and need.transport == "udp" and need.port for need in needs_of(plan, "out")):
        yield "answers from any host's STUN port are let back in, since the lists cannot tell an answer from a stranger"


FORMAT = Format(
    name="cisco-ios",
    about="access lists for IOS and IOS XE",
    level="L3",
    comment="!",
    apply="paste in `configure terminal`; `write memory` to keep it",
    body=write,
    again="it replaces its own lists: take them off the interface first, since a list that is gone lets all pass",
    undo="no ip access-group and no ipv6 traffic-filter on the interface, then the lines that begin with `no`",
    remarks=remarks,
)
