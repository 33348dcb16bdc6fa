"""The gate before every format: a plan whose names, ports and addresses cannot be anything else than that.

Room: core. `hosts.py` has refused bad names already; but a name in a rule file is a command to a firewall, so nothing
is written that was not looked at here. Texts (why, warnings, region codes) are not judged: `notes.py` makes them
harmless, since a mistake in a comment is no reason to have no rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ginnel.core.firewall.checked import Refused, checked_name
from ginnel.core.firewall.needs import Host, Need, Plan

NEED_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST_ID = 20  # with a prefix and a suffix it stays under the 31 characters of an OPNsense alias
DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?")


class CannotExpress(ValueError):
    """A plan that this format cannot say, or that must not be written anywhere. One line, for the user."""


def check(plan: Plan) -> Plan:
    """The plan itself. Raises CannotExpress."""
    if plan.profile not in ("recommended", "pinned"):
        raise CannotExpress(f"the profile is {plan.profile!r}: choose recommended or pinned")
    if plan.refresh_by and not DATE.fullmatch(plan.refresh_by):
        raise CannotExpress(f"the date {plan.refresh_by!r} is none: expected a date of RFC 3339")
    if not plan.needs:
        raise CannotExpress("the plan has no needs, so there is nothing to write: look at `ginnel firewall plan`")
    _check_ids(plan)
    for need in plan.needs:
        _check_need(need)
        if plan.profile == "pinned" and open_by_accident(need):
            raise CannotExpress(f"need {need.id} is to be pinned and names no host, which would allow every host")
    return plan


def _check_ids(plan: Plan) -> None:
    seen: set[str] = set()
    for need in plan.needs:
        if not NEED_ID.fullmatch(need.id) or len(need.id) > LONGEST_ID:
            raise CannotExpress(f"the need {need.id[:40]!r} has no proper id: expected letters, digits and hyphens")
        if need.id in seen:
            raise CannotExpress(f"need {need.id} is there twice")
        seen.add(need.id)


def open_by_accident(need: Need) -> bool:
    """Whether a pinned plan would let this one out to everybody: only the tunnel, which has no port, may."""
    return need.direction == "out" and need.port is not None and not need.hosts


def _check_need(need: Need) -> None:
    if need.direction not in ("out", "in") or need.transport not in ("tcp", "udp"):
        raise CannotExpress(f"need {need.id} is neither in nor out by tcp or udp")
    if not need.families or not set(need.families) <= {4, 6}:
        raise CannotExpress(f"need {need.id} is for neither IPv4 nor IPv6")
    for port in (need.source_port, need.port):
        if port is not None and not 1 <= port <= 0xFFFF:
            raise CannotExpress(f"need {need.id} has port {port}: expected 1 to 65535")
    if need.direction == "in" and (need.port is None or need.hosts):
        raise CannotExpress(f"need {need.id} lets in: it must name its own port, and no hosts")
    for host in need.hosts:
        for fault in _faults(host):
            raise CannotExpress(f"need {need.id}: {fault}")


def _faults(host: Host) -> Iterator[str]:
    if host.name:
        try:
            if checked_name(host.name) != host.name:
                yield f"the host name {host.name[:80]!r} is not in lower case without a final dot"
        except Refused as error:
            yield str(error)
    if not host.name and not host.addresses:
        yield "a host has neither name nor address"
    for address in host.addresses:
        if address.version == 6 and address.scope_id:
            yield "an address has a zone, which means nothing on another machine"
