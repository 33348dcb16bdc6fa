"""CSV and JSON: everything that the plan says, for spreadsheets and programs.

Room: core. In CSV a cell that begins with `=`, `+`, `-` or `@` is a formula to a spreadsheet: such a text gets an
apostrophe before it (OWASP, "CSV Injection").
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

from ginnel.core.firewall.formats.check import CannotExpress
from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.notes import line
from ginnel.core.firewall.needs import Host, Need, Plan

COLUMNS = (
    "need", "optional", "direction", "transport", "source_port", "port", "families", "name", "addresses", "level",
    "role", "stability", "region", "region_code", "node", "why", "without_it", "profile", "refresh_by", "source",
    "warnings",
)  # fmt: skip
SCHEMA = "ginnel-firewall-rules/1"
LONGEST_CELL = 32_000  # what spreadsheets hold


def as_csv(plan: Plan) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for need in plan.needs:
        for host in need.hosts or (None,):
            writer.writerow([_cell(cell) for cell in _cells(plan, need, host)])
    return out.getvalue()


def _cell(value: object) -> str:
    text = line(str(value), LONGEST_CELL)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "'")) else text


def _cells(plan: Plan, need: Need, host: Host | None) -> Iterator[object]:
    yield from (need.id, "yes" if need.optional else "no", need.direction, need.transport)
    yield from (need.source_port or "any", need.port or "any", " ".join(f"IPv{family}" for family in need.families))
    if host is None:
        yield from ("any", "any", "L3", "", "", "", "", "")
    else:
        addresses = " ".join(map(str, host.addresses))
        if len(addresses) > LONGEST_CELL:
            raise CannotExpress(f"{host.name or 'a host'} has more addresses than a cell holds: use the format json")
        yield from (host.name, addresses, host.level.value, host.role.value)
        yield from (host.stability.value, host.region or "", host.region_code, host.node)
    yield from (need.why, need.breaks, plan.profile, plan.refresh_by, plan.source, " ".join(plan.warnings))


def as_json(plan: Plan) -> str:
    document = {
        "format": SCHEMA,
        "level": "L3 and SNI/FQDN, as each host says",
        "profile": plan.profile,
        "source": plan.source,
        "refresh_by": plan.refresh_by,
        "warnings": list(plan.warnings),
        "rules": [_rule(need) for need in plan.needs],
    }
    return json.dumps(document, indent=2) + "\n"


def _rule(need: Need) -> dict[str, object]:
    return {
        "id": need.id,
        "direction": need.direction,
        "transport": need.transport,
        "source_port": need.source_port,
        "port": need.port,
        "families": list(need.families),
        "optional": need.optional,
        "why": need.why,
        "breaks": need.breaks,
        "looks_like": need.looks_like,
        "anywhere": not need.hosts,
        "hosts": [_host(host) for host in need.hosts],
    }


def _host(host: Host) -> dict[str, object]:
    return {
        "name": host.name,
        "addresses": [str(address) for address in host.addresses],
        "level": host.level.value,
        "role": host.role.value,
        "services": [str(service) for service in host.services],
        "stability": host.stability.value,
        "region": host.region,
        "region_code": host.region_code,
        "node": host.node,
        "needed_for": host.needed_for,
        "breaks": host.breaks,
    }


CSV = Format(
    name="csv",
    about="a table of needs and hosts, for spreadsheets",
    level="L3/FQDN",
    comment="",
    apply="open it in a spreadsheet",
    body=as_csv,
)
JSON = Format(
    name="json",
    about="everything, for programs",
    level="L3/FQDN",
    comment="",
    apply="read it with jq or a program",
    body=as_json,
)
