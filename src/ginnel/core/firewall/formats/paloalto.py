"""Palo Alto: external dynamic lists, one entry a line, one kind a list.

Room: core. A comment in a list of addresses stands behind an entry, after a blank; lists of domains and of URLs have
none (PAN-OS: "Formatting Guidelines for an External Dynamic List"). A list is of destinations, so the recommended
profile, whose destination is anywhere, has none: its rule is a service on port 443 to any. Checked against that page
by eye.
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.core.firewall.formats.check import CannotExpress
from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.notes import words
from ginnel.core.firewall.formats.targets import rows_of, said_in_tls
from ginnel.core.firewall.needs import Need, Plan
from ginnel.words import IpAddress

AGAIN = "replace the file on the web server: the firewall fetches it by itself"
UNDO = "take the list out of the policies, then delete it"


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
    header = _header(plan)
    lines = [f"{address} ginnel {' '.join(found[address])}" for address in order]
    return "\n".join([f"{lines[0]}. {header}", *lines[1:], ""])


def _header(plan: Plan) -> str:
    """Short: it stands beside an entry, and nobody says how long such a line may be."""
    until = f", refresh by {plan.refresh_by}" if plan.refresh_by else ""
    return words(f"Level {BY_ADDRESS.level}, profile {plan.profile}{until}, source {plan.source}", 200)


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


def remarks_on_domains(plan: Plan) -> Iterator[str]:
    yield "a list of domains works on DNS questions (Anti-Spyware, DNS policies, action allow) and opens no port"
    yield "for a policy's destination take the format paloalto-edl-ip, for its URL category paloalto-edl-url"
    yield from remarks(plan)


BY_ADDRESS = Format(
    name="paloalto-edl-ip",
    about="external dynamic list of type IP",
    level="L3",
    comment="",
    apply="put it on a web server, Objects, External Dynamic Lists, type IP List, as destination in a policy",
    body=addresses,
    again=AGAIN,
    undo=UNDO,
    remarks=remarks,
    bare=True,
)
BY_DOMAIN = Format(
    name="paloalto-edl-domain",
    about="external dynamic list of type Domain",
    level="SNI/FQDN",
    comment="",
    apply="put it on a web server, Objects, External Dynamic Lists, type Domain List, in the DNS policies of a profile",
    body=domains,
    again=AGAIN,
    undo=UNDO,
    remarks=remarks_on_domains,
    bare=True,
)
BY_URL = Format(
    name="paloalto-edl-url",
    about="external dynamic list of type URL",
    level="SNI/FQDN",
    comment="",
    apply="put it on a web server, Objects, External Dynamic Lists, type URL List, as a category in a policy",
    body=urls,
    again=AGAIN,
    undo=UNDO,
    remarks=remarks,
    bare=True,
)
