"""Addresses of relay hosts: literal ones from the map, looked up ones from the shell.

Room: core.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from ginnel.core.node.actions import Resolve
from ginnel.wire.derpmap import DERP_PORT, PIN, STUN_PORT
from ginnel.wire.tailcfg import DERPNode
from ginnel.words import Endpoint, Instant, IpAddress

LOOKUP_KEPT = 300.0
LOOKUP_AGAIN = 5.0  # after one that failed, or never came back
HOSTS_KEPT = 1024


class Names:
    """A node's `ipv4` or `ipv6`: a literal, "" (ask DNS), or any other word: this family is off."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[tuple[IpAddress, ...], Instant]] = {}
        self._asked: dict[str, Instant] = {}

    def resolved(self, host: str, addresses: Sequence[IpAddress], now: Instant) -> None:
        """An answer; a failed look-up leaves what was known."""
        if addresses and host in self._asked:
            self._found[host] = (tuple(addresses), now)

    def lookups(self, node: DERPNode, now: Instant) -> list[Resolve]:
        """The look-up that this node needs now, if it needs one."""
        host = node.host_name
        if (node.ipv4 and node.ipv6) or _literal(host) is not None or not host:
            return []
        known = self._found.get(host)
        if known is not None and now - known[1] < LOOKUP_KEPT:
            return []
        if now - self._asked.get(host, float("-inf")) < LOOKUP_AGAIN:
            return []
        self._asked.pop(host, None)  # to the end of the row
        if len(self._asked) >= HOSTS_KEPT:  # the one that was asked for longest ago gives way
            oldest = next(iter(self._asked))
            del self._asked[oldest]
            self._found.pop(oldest, None)
        self._asked[host] = now
        return [Resolve(host)]

    def addresses(self, node: DERPNode) -> tuple[IpAddress, ...]:
        """IPv4 before IPv6."""
        return (*self._family(node, node.ipv4, 4), *self._family(node, node.ipv6, 6))

    def derp_addresses(self, node: DERPNode) -> tuple[Endpoint, ...]:
        port = node.derp_port or DERP_PORT
        return tuple(Endpoint(ip, port) for ip in self.addresses(node)) if 0 < port <= 0xFFFF else ()

    def stun_address(self, node: DERPNode, version: int) -> Endpoint | None:
        """Where the node answers STUN in IP version 4 or 6; None: nowhere, or not known yet."""
        port = node.stun_port or STUN_PORT
        if not 0 < port <= 0xFFFF:
            return None
        test = _literal(node.stun_test_ip)
        if test is not None:
            return Endpoint(test, port) if test.version == version else None
        return next((Endpoint(ip, port) for ip in self.addresses(node) if ip.version == version), None)

    def _family(self, node: DERPNode, written: str, version: int) -> tuple[IpAddress, ...]:
        if written:
            literal = _literal(written)
            return (literal,) if literal is not None and literal.version == version else ()
        host = _literal(node.host_name)
        if host is not None:
            return (host,) if host.version == version else ()
        found, _ = self._found.get(node.host_name, ((), Instant(0.0)))
        return tuple(ip for ip in found if ip.version == version)


def verify_of(node: DERPNode) -> str:
    """How the relay's certificate is judged, as `RelayOpen.verify` writes it."""
    if node.insecure_for_tests:
        return "insecure"
    if node.cert_name.startswith(PIN):
        return node.cert_name
    return "name:" + (node.cert_name or node.host_name)


@lru_cache(maxsize=1024)  # the same few texts of the map, again and again
def _literal(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text) if "%" not in text else None
    except ValueError:
        return None
