"""NAT-PMP: asking the home router for its outside address and for an open UDP port (RFC 6886 §3).

Room: wire. Bytes become messages and back. No sockets, clocks, randomness or logs come in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

from ginnel.wire.read import Malformed, Reader

PORT = 5351
ANNOUNCE_PORT = 5350  # routers say on 224.0.0.1 that they restarted
VERSION = 0
GET_ADDRESS, MAP_UDP = 0, 1
ANSWER = 0x80
MAX_PACKET = 1100


class Result(IntEnum):
    """§3.5. A code that is not here is an error too."""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    OUT_OF_RESOURCES = 4
    UNSUPPORTED_OPCODE = 5


@dataclass(frozen=True, slots=True)
class AddressAnswer:
    """`epoch`: seconds since the router's table of mappings began. `address`: 0.0.0.0 while it has none."""

    result: int
    epoch: int
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class MapAnswer:
    """`lifetime`: seconds, 0 for a mapping that was deleted. Ports and lifetime are 0 in a refusal cut short."""

    result: int
    epoch: int
    internal_port: int
    external_port: int
    lifetime: int


NatPmpAnswer = AddressAnswer | MapAnswer


def address_request() -> bytes:
    """2 bytes."""
    return bytes((VERSION, GET_ADDRESS))


def map_request(internal_port: int, wanted_port: int, lifetime: int) -> bytes:
    """12 bytes. `wanted_port` 0: any. Lifetime 0, with wanted port 0, deletes the mapping (§3.4)."""
    ports = internal_port.to_bytes(2, "big") + wanted_port.to_bytes(2, "big")
    return bytes((VERSION, MAP_UDP, 0, 0)) + ports + lifetime.to_bytes(4, "big")


def parse_answer(packet: bytes) -> NatPmpAnswer:
    """Read an answer or an announcement. A refusal may end after its epoch (§3.5); bytes that follow are skipped.
    Raises WireError."""
    if len(packet) > MAX_PACKET:
        raise Malformed(f"expected at most {MAX_PACKET} bytes of NAT-PMP, got {len(packet)}")
    read = Reader(packet)
    read.expect(bytes((VERSION,)), "NAT-PMP version 0")
    code = read.u8()
    result, epoch = read.u16(), read.u32()
    if code == ANSWER | GET_ADDRESS:
        return AddressAnswer(result, epoch, _address(read, result))
    if code == ANSWER | MAP_UDP:
        if result and read.remaining < 8:
            return MapAnswer(result, epoch, 0, 0, 0)
        return MapAnswer(result, epoch, read.u16(), read.u16(), read.u32())
    raise Malformed(f"expected a NAT-PMP answer, got operation {code}")


def _address(read: Reader, result: int) -> IPv4Address:
    if result and read.remaining < 4:
        return IPv4Address(0)
    return IPv4Address(read.take(4))
