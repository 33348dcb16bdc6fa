"""The facts with what DNS says of the names that clients dial, for formats that take addresses alone.

Room: core. A lookup that failed takes nothing away: the map's addresses stay, and a name without any is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ginnel.core.firewall.allowlist import Answer, Line, allowlist, names_to_resolve, resolved
from ginnel.core.firewall.needs import Level
from ginnel.core.firewall.plan import Facts


@dataclass(frozen=True, slots=True)
class Answered:
    """unknown: one line for each name of which no address is known; doubts: for each whose lookup failed beside
    addresses of the map."""

    facts: Facts
    unknown: tuple[str, ...]
    doubts: tuple[str, ...]


def names_to_ask(facts: Facts) -> tuple[str, ...]:
    """Names that clients dial. A region's `-all` name has the addresses of its relays, so it is not asked for."""
    return names_to_resolve(allowlist(facts.hosts, Level.SNI))


def with_answers(facts: Facts, answers: Mapping[str, Answer]) -> Answered:
    """answers: one for each of `names_to_ask`."""
    lines = resolved(allowlist(facts.hosts, Level.SNI), answers, facts.trust)
    known = {line.host.name: line.host.addresses for line in lines if line.host.name}
    hosts = tuple(
        replace(host, addresses=known[host.name]) if host.level is Level.SNI and host.name else host
        for host in facts.hosts
    )
    return Answered(
        replace(facts, hosts=hosts),
        tuple(_told(line) for line in lines if line.error and not line.host.addresses),
        tuple(_told(line) for line in lines if line.error and line.host.addresses),
    )


def _told(line: Line) -> str:
    return f"{line.host.name}: {line.error}"
