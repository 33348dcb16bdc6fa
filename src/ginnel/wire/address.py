"""18 bytes of UDP address as disco and DERP write it: an IPv6 address, IPv4 as ::ffff:a.b.c.d, then the port
(tailscale: disco/disco.go `appendMessage`, derp/derp.go `PeerPresent`).

Room: wire. No sockets, clocks, randomness or logs come in.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from ginnel.wire.read import Reader
from ginnel.words import Endpoint

ADDRESS_SIZE = 18
_MAPPED = bytes(10) + b"\xff\xff"


def write_address(endpoint: Endpoint) -> bytes:
    packed = endpoint.ip.packed
    return (packed if len(packed) == 16 else _MAPPED + packed) + endpoint.port.to_bytes(2, "big")


def read_address(read: Reader) -> Endpoint:
    """The next 18 bytes; IPv4 comes out as IPv4. Raises Truncated."""
    return Endpoint(IPv6Address(read.take(16)), read.u16())
