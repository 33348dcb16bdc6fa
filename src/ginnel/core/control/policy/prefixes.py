"""Sets of addresses in the fewest prefixes, as filter rules spell them: no host bits, one address without a length.

Room: core. No sockets, clocks, files, randomness or logs come in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ginnel.core.control.policy.model import Network
from ginnel.words import IpAddress

Span = tuple[int, int]
"""First and last address as numbers, of one family."""

TAILNET = (IPv4Network("100.64.0.0/10"), IPv6Network("fd7a:115c:a1e0::/48"))
EXIT_ROUTES: frozenset[Network] = frozenset({IPv4Network("0.0.0.0/0"), IPv6Network("::/0")})
_NOT_INTERNET = (
    "10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
)  # fmt: skip


def spell(addresses: Iterable[IpAddress], networks: Iterable[Network] = ()) -> list[str]:
    """The union, IPv4 first, in rising order. Neighbours become one prefix."""
    spans: dict[int, list[Span]] = {4: [], 6: []}
    for address in addresses:
        number = int(address)
        spans[address.version].append((number, number))
    for network in networks:
        spans[network.version].append((int(network.network_address), int(network.broadcast_address)))
    return [
        _text(version, first, length)
        for version in (4, 6)
        for span in _joined(spans[version])
        for first, length in _split(*span, width=32 if version == 4 else 128)
    ]


def _joined(spans: list[Span]) -> Iterator[Span]:
    """Spans that overlap or touch become one."""
    if not spans:
        return
    spans.sort()
    first, last = spans[0]
    for begin, end in spans:
        if begin <= last + 1:
            last = max(last, end)
        else:
            yield first, last
            first, last = begin, end
    yield first, last


def _split(first: int, last: int, width: int) -> Iterator[tuple[int, int]]:
    """The prefixes (first address, length) that cover a span, from the left."""
    while first <= last:
        free = (first & -first).bit_length() - 1 if first else width
        bits = min(free, (last - first + 1).bit_length() - 1)
        yield first, width - bits
        first += 1 << bits


@lru_cache(maxsize=1 << 16)  # ipaddress spells an IPv6 address in 5 µs, and a join spells its neighbours again
def _text(version: int, first: int, length: int) -> str:
    address = IPv4Address(first) if version == 4 else IPv6Address(first)
    return str(address) if length == address.max_prefixlen else f"{address}/{length}"


def _internet() -> tuple[str, ...]:
    inside = [IPv4Network(text) for text in _NOT_INTERNET]
    outside: list[Network] = [IPv6Network("2000::/3")]  # the private ranges of IPv6 lie beyond it
    first = 0
    for network in inside:
        outside += _between(first, int(network.network_address) - 1)
        first = int(network.broadcast_address) + 1
    return tuple(spell((), [*outside, *_between(first, (1 << 32) - 1)]))


def _between(first: int, last: int) -> list[IPv4Network]:
    return [IPv4Network(prefix) for prefix in _split(first, last, 32)]


INTERNET = _internet()
"""What an exit node leads to: all but private, link-local and carrier-grade ranges."""
