"""Addresses of relays that the map names without them: learnt by asking, kept when asking fails.

Room: core. A CNAME would hand the question on, but a `-all` name needs the addresses of several hosts, and beside a
CNAME nothing else may stand (RFC 1034 §3.6.2). So the server resolves the names itself, again and again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

from ginnel.core.relaydns.zone import HostAddresses
from ginnel.words import Instant

ASK_EVERY = 60.0
"""With ZONE's TTL this bounds how long a moved relay is told at its old address."""
GONE_AFTER = 3600.0
"""A host that names no address at all is more likely a broken zone than a relay given up: the map says when it is."""


class Lookup(Enum):
    """Why there are no addresses."""

    NONE = "none"  # the name's zone says so
    FAILED = "failed"  # nobody could tell


V4 = tuple[IPv4Address, ...] | Lookup
V6 = tuple[IPv6Address, ...] | Lookup


@dataclass(slots=True)
class _Host:
    known: HostAddresses
    ask_at: Instant
    asking: bool = False
    nothing_since: Instant | None = None


class Hosts:
    """`saved`: as known before a restart."""

    def __init__(self, saved: dict[str, HostAddresses] | None = None) -> None:
        self._saved = saved or {}
        self._hosts: dict[str, _Host] = {}

    def wanted(self, names: frozenset[str], now: Instant) -> None:
        """These and no others are to be known."""
        for name in self._hosts.keys() - names:
            del self._hosts[name]
        for name in names - self._hosts.keys():
            self._hosts[name] = _Host(self._saved.get(name, HostAddresses()), now)

    def due(self, now: Instant) -> list[str]:
        """Who is to be asked for now; each is answered by `found`."""
        due = [name for name, host in self._hosts.items() if not host.asking and host.ask_at <= now]
        for name in due:
            self._hosts[name].asking = True
        return sorted(due)

    def next_timeout(self) -> Instant | None:
        return min((host.ask_at for host in self._hosts.values() if not host.asking), default=None)

    def found(self, name: str, v4: V4, v6: V6, now: Instant) -> bool:
        """True when something changed. A lookup that failed changes nothing; a family that is not there while the
        other is, is gone; both gone are believed after GONE_AFTER."""
        host = self._hosts.get(name)
        if host is None:
            return False
        host.asking, host.ask_at = False, Instant(now + ASK_EVERY)
        nothing = v4 is Lookup.NONE and v6 is Lookup.NONE
        if nothing and host.nothing_since is None:
            host.nothing_since = now
        elif not nothing:
            host.nothing_since = None
        before = host.known
        if not nothing or (host.nothing_since is not None and now - host.nothing_since >= GONE_AFTER):
            host.known = _merged(before, v4, v6, nothing)
        return host.known != before

    def known(self) -> dict[str, HostAddresses]:
        return {name: host.known for name, host in self._hosts.items()}


def _merged(known: HostAddresses, v4: V4, v6: V6, nothing: bool) -> HostAddresses:
    """ "None" of one family counts only while the other has addresses, or when both are believed gone."""
    if isinstance(v4, tuple) or (v4 is Lookup.NONE and (nothing or isinstance(v6, tuple))):
        known = replace(known, v4=tuple(sorted(v4)) if isinstance(v4, tuple) else ())
    if isinstance(v6, tuple) or (v6 is Lookup.NONE and (nothing or isinstance(v4, tuple))):
        known = replace(known, v6=tuple(sorted(v6)) if isinstance(v6, tuple) else ())
    return known
