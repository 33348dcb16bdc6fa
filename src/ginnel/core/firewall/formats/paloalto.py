"""Palo Alto: external dynamic lists, one entry a line, one kind a list.

Room: core. A comment in a list of addresses stands behind an entry, after a blank; lists of domains and of URLs have
none (PAN-OS: "Formatting Guidelines for an External Dynamic List"). A list is of destinations, so the recommended
profile, whose destination is anywhere, has none: its rule is a service on port 443 to any.
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.core.firewall.formats.check import CannotExpress
from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.notes import words
from ginnel.core.firewall.formats.targets import rows_of, said_in_tls
from ginnel.core.firewall.needs import Need, Plan
from ginnel.words import IpAddress


def _pinned(plan: Plan) -> list[Need]:
    needs = [need for need in plan.needs if need.hosts]
    if not needs:
        raise CannotExpress(
            f"an external dynamic list is of destinations, and the {plan.profile} profile allows anywhere:"
            " allow a service of TCP 443 to any, or give --profile pinned"
        )
    return needs


def addresses(plan: Plan) -> str:
    """Header on the first entry's line, since a line of comment alone would be read as an entry."""
    found: dict[IpAddress, list[str]] = {}
    for need in _pinned(plan):
        for row in rows_of(need):
            for address in row.to:
                found.setdefault(address, []).append(need.id)
    order = sorted(found, key=lambda a: (a.version, int(a)))
    header = words("; ".join(BY_ADDRESS.notes(plan)), 1000)
    lines = [f"{address} ginnel {' '.join(found[address])}" for address in order]
    return "\n".join([f"{lines[0]}. {header}", *lines[1:], ""])


def domains(plan: Plan) -> str:
    return "\n".join([*_names(plan), ""])


def urls(plan: Plan) -> str:
    """A slash ends the host: without it `example.com` would also match `example.com.other.net`."""
    return "\n".join([*(f"{name}/" for name in _names(plan)), ""])


def _names(plan: Plan) -> list[str]:
    names = sorted({name for need in _pinned(plan) for name in said_in_tls(need).names})
    if not names:
        raise CannotExpress("the pinned hosts have addresses alone: use the format paloalto-edl-ip")
    return names


def remarks(plan: Plan) -> Iterator[str]:
    yield "a list holds destinations: the policy adds services: TCP 443, UDP 3478, UDP from the tunnel's port"
    left = [need.id for need in plan.needs if not need.hosts]
    if left:
        yield f"not in a list: {', '.join(left)}; make a rule of its own"
    yield "exclude these from decryption: a certificate of the firewall's own is refused by nodes"


BY_ADDRESS = Format(
    name="paloalto-edl-ip",
    about="external dynamic list of type IP",
    level="L3",
    comment="",
    apply="put it on a web server, Objects, External Dynamic Lists, type IP List",
    body=addresses,
    remarks=remarks,
)
BY_DOMAIN = Format(
    name="paloalto-edl-domain",
    about="external dynamic list of type Domain",
    level="SNI/FQDN",
    comment="",
    apply="put it on a web server, Objects, External Dynamic Lists, type Domain List",
    body=domains,
    remarks=remarks,
    bare=True,
)
BY_URL = Format(
    name="paloalto-edl-url",
    about="external dynamic list of type URL",
    level="SNI/FQDN",
    comment="",
    apply="put it on a web server, Objects, External Dynamic Lists, type URL List, as a category in a policy",
    body=urls,
    remarks=remarks,
    bare=True,
)
