"""`ginnel firewall lint`: whether the mesh's needs pass a rule set, said offline.

Room: cli.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import click

from ginnel.cli.local import fail, plain
from ginnel.core.firewall.lint.read import FORMATS

if TYPE_CHECKING:
    from ginnel.core.firewall.lint.judge import Finding
    from ginnel.core.firewall.lint.model import RuleSet
    from ginnel.core.firewall.needs import Need

VENDORS = ("fortigate",)
LOCAL_PORT = 41641
BLOCKED, NOT_KNOWN = 1, 3  # exit statuses; 2 is a wrong option


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option(
    "--format", "form", type=click.Choice(("auto", *FORMATS)), default="auto", help="What the files are.  [auto]"
)
@click.option("--port", metavar="PORT", type=click.IntRange(0, 65535), default=LOCAL_PORT, help="The tunnel's; 0: any.")
@click.option("--interface", metavar="NAME", default="", help="By which this host reaches the internet.")
@click.option("--family", type=click.Choice(("4", "6")), help="Judge IPv4 or IPv6 alone.  [both]")
@click.option("--group", "groups", multiple=True, help="Of many security groups (Google: networks), this machine's.")
@click.option("--derp-map", metavar="FILE|URL", default="", help="Judge each relay of this map too.")
@click.option(
    "--add-region",
    "regions",
    metavar="NAME=ADDRESS,...",
    multiple=True,
    help="Judge the relays of a region that is still to come.",
)
@click.option("--vendor", type=click.Choice(VENDORS), help="What is known of this maker's firewalls.")
@click.option("--json", "as_json", is_flag=True, help="Instead of text.")
def lint(
    *,
    files: tuple[str, ...],
    form: str,
    port: int,
    interface: str,
    family: str | None,
    groups: tuple[str, ...],
    derp_map: str,
    regions: tuple[str, ...],
    vendor: str | None,
    as_json: bool,
) -> None:
    """Judge a rule set offline: does the mesh pass? FILE is the output of `nft -j list ruleset`, `iptables-save`,
    `ip6tables-save`, `ipset save` (the sets that these name), `ufw status verbose`, or a cloud's security group; - is
    standard input. Without FILE: this host's own rules, for root.

    \b
    The exit status is that of the rules that are not optional:
      0  all pass
      1  something is blocked, or no answer could be given
      3  nothing is blocked for sure, but something depends or is unknown
    """
    from ginnel.core.firewall.lint.judge import lint as judged
    from ginnel.core.firewall.lint.read import about_ipsets, not_told
    from ginnel.core.firewall.lint.trips import Where
    from ginnel.core.firewall.lint.vendors import warnings

    told_of = list(warnings(vendor)) if vendor else []
    if vendor and not files:
        print(json.dumps({"notes": told_of}, indent=2) if as_json else "\n".join(f"note: {note}" for note in told_of))
        return
    rules = _read(files, form, groups) if files else _live()
    where = Where(interface if files else interface or _way_out())
    now = judged(rules, _of_family([*_needs(port), *_map_needs(derp_map)], family), where)
    later = judged(rules, _of_family([need for text in regions for need in _region(text)], family), where)
    missing = not_told(rules)
    notes = [*rules.notes, *about_ipsets(rules), *told_of]
    if as_json:
        notes = [*([missing] if missing else []), *notes]
        told = {"now": [_json(f) for f in now], "later": [_json(f) for f in later], "notes": notes}
        print(json.dumps(told, indent=2))
    else:
        if missing:
            print(f"note: {missing}\n")
        _print(now, later, notes)
    sys.exit(_status((*now, *later)))


def _status(findings: Sequence[Finding]) -> int:
    """What is not known does not pass."""
    from ginnel.core.firewall.lint.judge import Answer

    answers = {finding.answer for finding in findings if not finding.need.optional}
    if Answer.BLOCKED in answers:
        return BLOCKED
    return NOT_KNOWN if answers - {Answer.PASSES} else 0


def _live() -> RuleSet:
    from ginnel.core.firewall.lint.model import LintError
    from ginnel.shell.firewall.live import live_rules
    from ginnel.shell.firewall.tools import ToolError

    try:
        return live_rules()
    except (ToolError, LintError) as error:
        fail(str(error))


def _way_out() -> str:
    from ginnel.shell.firewall.way_out import way_out

    return way_out()


def _read(files: tuple[str, ...], form: str, groups: tuple[str, ...]) -> RuleSet:
    from ginnel.core.firewall.lint.model import MAX_BYTES, LintError, RuleSet
    from ginnel.core.firewall.lint.read import read

    got, empty = RuleSet(families=frozenset()), ""
    for name in files:
        try:
            with click.open_file(name, "rb") as file:
                data = file.read(MAX_BYTES + 1)
            if len(files) > 1 and not data.strip() and not empty:
                empty = name
                continue
            got = got.joined(read(data, form, groups))
        except OSError as error:
            fail(f"cannot read {name}: {error.strerror}; give the name of a file")
        except LintError as error:
            fail(f"{name}: {error}")
    if empty:
        _without_rules(got, empty)
    return got


def _without_rules(rules: RuleSet, name: str) -> None:
    """An empty file beside one of iptables: so tells ip6tables-save that there are no rules."""
    if rules.families not in ({4}, {6}) or not any("tables" in chain.table for chain in rules.chains.values()):
        fail(f"{name}: it is empty: was the command run by root? What has no rules at all lets everything pass")
    (other,) = {4, 6} - rules.families
    rules.families |= {other}
    rules.notes.append(f"{name} is empty: IPv{other} is taken to have no rules, if root has made that file")


def _needs(port: int) -> list[Need]:
    from ginnel.core.firewall.needs import Need

    return [
        Need("https", "out", "tcp", None, 443),
        Need("tunnel", "out", "udp", port or None, None),
        Need("stun", "out", "udp", None, 3478),
        Need("portal", "out", "tcp", None, 80, optional=True),
        *([Need("tunnel-in", "in", "udp", None, port, optional=True)] if port else []),
    ]


def _of_family(needs: Iterable[Need], family: str | None) -> list[Need]:
    if family is None:
        return list(needs)
    return [replace(need, families=tuple(f for f in need.families if f == int(family))) for need in needs]


def _map_needs(place: str) -> list[Need]:
    if not place:
        return []
    import asyncio

    from ginnel.core.firewall.hosts import relays_of
    from ginnel.core.firewall.lint.regions import needs_of_hosts
    from ginnel.shell.relay_map import MapError, Place, read_map

    try:
        found = asyncio.run(read_map(Place(place, "")))
    except MapError as error:
        fail(str(error))
    return needs_of_hosts(relays_of(found.derp_map).hosts)


def _region(text: str) -> list[Need]:
    from ginnel.core.firewall.lint.regions import needs_of_region

    name, _, addresses = text.partition("=")
    try:
        found = tuple(ip_address(part) for part in addresses.split(","))
    except ValueError:
        fail(f"--add-region {text}: expected NAME=ADDRESS,ADDRESS, such as syd=192.0.2.7,2001:db8::7")
    return needs_of_region(name, found)


def _print(now: tuple[Finding, ...], later: tuple[Finding, ...], notes: list[str]) -> None:
    for finding in now:
        _print_finding(finding)
    if later:
        print("\nwith the regions to come:")
    for finding in later:
        _print_finding(finding)
    if notes:
        print()
    for note in notes:
        print(f"note: {plain(note)}")


def _print_finding(finding: Finding) -> None:
    print(f"{finding.answer:8} {finding.need.id}, IPv{finding.family}: {plain(_what(finding.need, finding.family))}")
    for quote in finding.quotes:
        which = f"{quote.answer}: " if quote.answer != finding.answer or quote.packets else ""
        about = f" ({quote.packets})" if quote.packets else ""
        print(plain(f"           {which}{': '.join(part for part in (quote.where, quote.text) if part)}{about}"))
    for note in finding.notes:
        print(plain(f"           {note}"))


def _what(need: Need, family: int) -> str:
    if need.direction == "in":
        return f"in {need.transport} from anywhere to port {need.port}"
    source = f" from port {need.source_port}" if need.source_port else ""
    hosts = ", ".join(dict.fromkeys(str(a) for host in need.hosts for a in host.addresses if a.version == family))
    where = f"port {need.port or '*'} of {hosts}" if hosts else f"*:{need.port or '*'}"
    return f"out {need.transport}{source} to {where}"


def _json(finding: Finding) -> dict[str, Any]:
    return {
        "need": finding.need.id,
        "family": finding.family,
        "answer": finding.answer,
        "rule": _what(finding.need, finding.family),
        "deciding": [
            {"answer": q.answer, "where": q.where, "text": q.text, "packets": q.packets} for q in finding.quotes
        ],
        "notes": list(finding.notes),
    }
