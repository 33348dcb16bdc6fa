"""The allowlist: each name once, what DNS answers for it beside what the map says, and its formats.

Room: core. A lookup that failed is written on its line; it never makes a line shorter or empty.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from ginnel.core.firewall import texts
from ginnel.core.firewall.checked import Refused, by_family
from ginnel.core.firewall.hosts import Trust, for_level
from ginnel.core.firewall.needs import Host, Level, Role
from ginnel.core.firewall.plan import Facts, refresh_by
from ginnel.core.firewall.plan_json import SCHEMA, host_json
from ginnel.words import IpAddress

CSV_COLUMNS = (
    "name", "levels", "role", "ports", "stability", "region", "region_code", "node", "ipv4", "ipv6", "needed_for",
    "breaks", "error",
)  # fmt: skip
_TITLES = {
    Role.CONTROL: "Coordination server",
    Role.LOGIN: "Sign-in",
    Role.LOG: "Logs",
    Role.RELAY: "Relays: all machines need all of them",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Of DNS for one name. `error`: one line where A or AAAA could not be asked for, or there is neither."""

    addresses: tuple[IpAddress, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One name, or a host that has addresses alone. `levels`: which firewalls it is for: a name that clients put into
    TLS can be resolved as well, where no `-all` name stands for it."""

    host: Host
    levels: tuple[Level, ...] = (Level.SNI,)
    error: str = ""


def allowlist(hosts: Iterable[Host], level: Level | None = None) -> tuple[Line, ...]:
    """Each name of a level once in each of its roles, with the ports and addresses of all that have it there. None:
    both levels."""
    every = tuple(hosts)
    resolvable = {id(host) for host in for_level(every, Level.L3)}
    same: dict[tuple[object, Role, tuple[Level, ...]], list[Host]] = {}
    for host in every:
        levels = _levels(host, resolvable=id(host) in resolvable)
        if level is None or level in levels:
            same.setdefault((host.name or host.addresses, host.role, levels), []).append(host)
    return tuple(Line(_merged(found), levels) for (_, _, levels), found in same.items())


def _levels(host: Host, *, resolvable: bool) -> tuple[Level, ...]:
    if host.level is Level.L3:
        return (Level.L3,)
    return (Level.L3, Level.SNI) if resolvable else (Level.SNI,)


def _merged(found: Sequence[Host]) -> Host:
    if len(found) == 1:
        return found[0]
    addresses = {address for host in found for address in host.addresses}
    services = dict.fromkeys(service for host in found for service in host.services)
    return replace(found[0], services=tuple(services), addresses=tuple(sorted(addresses, key=by_family)))


def names_to_resolve(lines: Iterable[Line]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line.host.name for line in lines if line.host.name))


def resolved(lines: Iterable[Line], answers: Mapping[str, Answer], trust: Trust) -> tuple[Line, ...]:
    """The lines with what DNS says: clients may dial both, the map's addresses and the name's. An address that cannot
    be trusted is an error as well, and left out."""
    return tuple(_resolved(line, answers[line.host.name], trust) if line.host.name else line for line in lines)


def _resolved(line: Line, answer: Answer, trust: Trust) -> Line:
    errors = [answer.error] if answer.error else []
    found = set(line.host.addresses)
    for address in answer.addresses:
        try:
            found.add(address if line.host.role is not Role.RELAY else trust.address(address))
        except Refused as error:
            errors.append(f"DNS answers what is left out: {error}")
    host = replace(line.host, addresses=tuple(sorted(found, key=by_family)))
    return replace(line, host=host, error="; ".join(errors))


# --- formats ---------------------------------------------------------------------------------------------------------


def fqdn_lines(lines: Iterable[Line]) -> list[str]:
    """The names alone."""
    return list(names_to_resolve(lines))


def nameless(lines: Iterable[Line]) -> list[str]:
    """What a list of names cannot hold: addresses of hosts without one."""
    return [str(address) for line in lines if not line.host.name for address in line.host.addresses]


def allowlist_json(lines: Iterable[Line], facts: Facts) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "source": facts.source,
        "warning": texts.PINNED,
        "warnings": list(facts.problems),
        "refresh_by": refresh_by(facts.made),
        "entries": [_line_json(line) for line in lines],
    }


def _line_json(line: Line) -> dict[str, Any]:
    return host_json(line.host) | {"levels": [str(level) for level in line.levels], "error": line.error or None}


def allowlist_csv(lines: Iterable[Line]) -> str:
    """RFC 4180, several values of a cell separated by a blank."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n")
    write.writerow(CSV_COLUMNS)
    for line in lines:
        cells = _line_json(line)
        write.writerow([_cell(cells[column]) for column in CSV_COLUMNS])
    return text.getvalue()


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def allowlist_text(lines: Sequence[Line], *, addresses: bool) -> list[str]:
    """By role; names and ports in columns, `addresses` beneath each name."""
    shown: list[str] = []
    by_role = sorted(lines, key=lambda line: list(_TITLES).index(line.host.role))
    for role, group in groupby(by_role, key=lambda line: line.host.role):
        shown += [*([""] if shown else []), *_section(role, list(group), addresses)]
    return shown


def _section(role: Role, lines: Sequence[Line], addresses: bool) -> list[str]:
    host, relay = lines[0].host, role is Role.RELAY
    use, breaks = (texts.RELAYS_USE, texts.RELAYS_BREAK) if relay else (host.needed_for, host.breaks)
    rows = [("NAME", "LEVEL", "PORTS", "CHANGES", "REGION"), *map(_row, lines)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    shown = [_TITLES[role], f"  needed for: {use}", f"  if blocked: {breaks}", table[0]]
    for line, row in zip(lines, table[1:], strict=True):
        shown.append(row)
        shown += [f"    {address}" for address in line.host.addresses] if addresses or not line.host.name else []
        shown += [f"    error: {line.error}"] if line.error else []
    return shown


def _row(line: Line) -> tuple[str, str, str, str, str]:
    host = line.host
    region = f"{host.region} {host.region_code}" if host.region else ""
    ports = " ".join(map(str, host.services))
    return host.name or "(no name)", " ".join(line.levels), ports, str(host.stability), region
