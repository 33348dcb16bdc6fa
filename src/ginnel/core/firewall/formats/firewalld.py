"""firewalld: commands that make two policies, HOST to ANY and ANY to HOST, and sets of addresses.

Room: core. firewalld lets everything out until a policy with egress says otherwise; policies are tried by priority, so
ours, at -100, comes before one that drops (firewalld.policies(5)). It lets answers and ICMP about connections through
by itself, and IPv6's neighbours in, but not out past such a policy. All is written to the permanent configuration and
comes alive at once by --reload.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.kept import commands
from ginnel.core.firewall.formats.notes import INSIDE, TUN, YOURS, commented, reasons
from ginnel.core.firewall.formats.targets import Row, needs_of, rows_of
from ginnel.core.firewall.needs import Direction, Need, Plan

COMMAND = "firewall-cmd --permanent"
PRIORITY = -100
ZONES = {"out": ("HOST", "ANY"), "in": ("ANY", "HOST")}
FAMILY = {4: ("ipv4", "inet"), 6: ("ipv6", "inet6")}
NEIGHBOURS = ("neighbour-solicitation", "neighbour-advertisement", "router-solicitation")
ENTRIES = 50  # to a command: each takes a good part of a second


def write(plan: Plan) -> str:
    lines = commented("#", FORMAT.notes(plan))
    for direction in ("out", "in"):
        needs = needs_of(plan, direction)
        if needs:
            lines += _policy(direction, needs)
    lines += commented("#", [INSIDE, *_inside()])
    return "\n".join([*lines, "firewall-cmd --reload", ""])


def _inside() -> Iterator[str]:
    """A zone lets in; out past a policy that drops leads another policy alone."""
    yield f"{COMMAND} --zone=trusted --add-interface={TUN}"
    yield from _anew("policy", "ginnel-mesh", "--new-policy=ginnel-mesh")
    ours = f"{COMMAND} --policy=ginnel-mesh"
    yield f"{ours} --add-ingress-zone=HOST"
    yield f"{ours} --add-egress-zone=trusted"
    yield f"{ours} --set-priority={PRIORITY}"
    yield f"{ours} --set-target=ACCEPT"


def _policy(direction: Direction, needs: list[Need]) -> Iterator[str]:
    name = f"ginnel-{direction}"
    ingress, egress = ZONES[direction]
    yield from _anew("policy", name, f"--new-policy={name}")
    ours = f"{COMMAND} --policy={name}"
    yield f"{ours} --add-ingress-zone={ingress}"
    yield f"{ours} --add-egress-zone={egress}"
    yield f"{ours} --set-priority={PRIORITY}"
    yield f"{ours} --set-target=CONTINUE"
    if direction == "out":
        yield "# IPv6 finds no neighbour without these"
        for kind in NEIGHBOURS:
            yield f'{ours} --add-rich-rule=\'rule family="ipv6" icmp-type name="{kind}" accept\''
    for need in needs:
        yield from commented("#", reasons(need))
        for row in rows_of(need):
            if row.to:
                yield from _set(row)
            if row.to or len(need.families) == 1 or (not need.port and not need.source_port):
                yield f"{ours} --add-rich-rule='{_rich(row)}'"
            elif row.family == need.families[0]:
                yield f"{ours} {_port(need)}"


def _anew(kind: str, name: str, make: str) -> Iterator[str]:
    """Gone first, where it was: the permanent configuration is no rule yet, so nothing is open or shut meanwhile."""
    yield f"if {COMMAND} --info-{kind}={name} >/dev/null 2>&1; then {COMMAND} --delete-{kind}={name}; fi"
    yield f"{COMMAND} {make}"


def _set(row: Row) -> Iterator[str]:
    name = _set_name(row)
    yield from _anew("ipset", name, f"--new-ipset={name} --type=hash:ip --option=family={FAMILY[row.family][1]}")
    entries = iter(row.to)
    while some := list(islice(entries, ENTRIES)):
        yield f"{COMMAND} --ipset={name} " + " ".join(f"--add-entry={address}" for address in some)


def _set_name(row: Row) -> str:
    return row.set_name.replace("_", "-")


def _port(need: Need) -> str:
    if need.source_port and not need.port:
        return f"--add-source-port={need.source_port}/{need.transport}"
    return f"--add-port={need.port}/{need.transport}"


def _rich(row: Row) -> str:
    need, parts = row.need, [f'rule family="{FAMILY[row.family][0]}"']
    if row.to:
        parts.append(f'destination ipset="{_set_name(row)}"')
    if need.port:
        parts.append(f'port port="{need.port}" protocol="{need.transport}"')
    elif need.source_port:
        parts.append(f'source-port port="{need.source_port}" protocol="{need.transport}"')
    else:
        parts.append(f'protocol value="{need.transport}"')
    return " ".join([*parts, "accept"])


def remarks(plan: Plan) -> Iterator[str]:
    yield "--reload at the end forgets what was set without --permanent"
    yield YOURS
    for command in commands(plan, "firewalld", "", _set_name):
        yield f"keeps a set current, until these are run again: {command}"
    for need in plan.needs:
        if need.source_port and need.port:
            yield f"{need.id}: a rule knows one port: the destination's is here, the source port is left open"


FORMAT = Format(
    name="firewalld",
    about="commands for this host (firewalld 0.9 or later)",
    level="L3",
    comment="#",
    apply="sudo sh -e FILE",
    body=write,
    again="it replaces its own policies and sets, which come alive at the reload",
    undo=r"sed -n 's/^if .* then \(.*\); fi$/\1/p' FILE | sudo sh -e; sudo firewall-cmd --reload",
    remarks=remarks,
)
