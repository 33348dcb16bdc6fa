"""Which of two proven addresses is the better one (tailscale: wgengine/magicsock/endpoint.go betterAddr).

Room: core. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from ginnel.core.node.addresses import is_private
from ginnel.core.node.constants import DEFAULT_WIRE_MTU, FULL_SIZE
from ginnel.words import Endpoint

POINTS_LOOPBACK, POINTS_LINK_LOCAL, POINTS_PRIVATE, POINTS_IPV6 = 50, 30, 20, 10
HYSTERESIS_PERCENT = 1


@dataclass(frozen=True, slots=True)
class Proven:
    """An endpoint that answered; latency in seconds, there and back. `wire_mtu`: of the largest ping that it answered,
    IP header included; 0: none but small ones. `socket`: the one that it answers; 0: the tunnel's own."""

    endpoint: Endpoint
    latency: float
    wire_mtu: int = DEFAULT_WIRE_MTU
    socket: int = 0

    @property
    def way(self) -> tuple[Endpoint, int]:
        return self.endpoint, self.socket

    @property
    def full_size(self) -> bool:
        """Whether it is proven that the tunnel's largest datagrams get through."""
        return self.wire_mtu >= wire_size(self.endpoint, FULL_SIZE)


def wire_size(endpoint: Endpoint, payload: int) -> int:
    """Of a UDP datagram, with its headers."""
    return payload + 8 + (20 if endpoint.is_v4 else 40)


def better(a: Proven, b: Proven | None) -> bool:
    """Whether `a` should replace `b`. Latency counts by the percentage saved, the kind of address by points."""
    if b is None:
        return True
    if a.way == b.way:
        return a.wire_mtu > b.wire_mtu
    a_points, b_points = _address_points(a.endpoint), _address_points(b.endpoint)
    if a.latency < b.latency:
        a_points += _percent_saved(a.latency, b.latency)
    elif b.latency < a.latency:
        b_points += _percent_saved(b.latency, a.latency)
    if a_points <= HYSTERESIS_PERCENT and b_points == 0:
        return False
    return a_points > b_points


def _percent_saved(fast: float, slow: float) -> int:
    return int(100 - fast * 100 / slow)


def _address_points(endpoint: Endpoint) -> int:
    ip = endpoint.ip
    points = 0 if endpoint.is_v4 else POINTS_IPV6
    if ip.is_loopback:
        return points + POINTS_LOOPBACK
    if ip.is_link_local:
        return points + POINTS_LINK_LOCAL
    return points + POINTS_PRIVATE if is_private(ip) else points
