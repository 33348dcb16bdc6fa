"""PCP: the Port Control Protocol, NAT-PMP's successor on the same port (RFC 6887 §7, §11, §14.1).

Room: wire. Bytes become messages and back; nonces are arguments. No sockets, clocks, randomness or logs come in.
Addresses stand as 16 bytes, IPv4 inside IPv6.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from ginnel.wire.read import Malformed, Reader
from ginnel.words import IpAddress

PORT = 5351
VERSION = 2
ANNOUNCE, MAP = 0, 1
ANSWER = 0x80
UDP = 17
NONCE_SIZE = 12
HEADER_SIZE = 24
MAP_SIZE = 36
MAX_PACKET = 1100


class Result(IntEnum):
    """§7.4. A code that is not here is an error too."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPP_OPCODE = 4
    UNSUPP_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPP_PROTOCOL = 9
    USER_EX_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


@dataclass(frozen=True, slots=True)
class Mapping:
    """What a MAP answer says; in a refusal, what was asked for."""

    nonce: bytes
    protocol: int
    internal_port: int
    external_port: int
    external: IpAddress


@dataclass(frozen=True, slots=True)
class PcpAnswer:
    """`lifetime`: seconds of the mapping, or of the refusal. `epoch`: seconds since the server's state began.
    `mapping`: of a MAP answer, unless a refusal came without."""

    operation: int
    result: int
    lifetime: int
    epoch: int
    mapping: Mapping | None = None


def announce_request(own: IPv4Address) -> bytes:
    """24 bytes: are you there, and since when?"""
    return _header(ANNOUNCE, 0, own)


def map_request(own: IPv4Address, nonce: bytes, internal_port: int, wanted_port: int, lifetime: int) -> bytes:
    """60 bytes. Wanted port 0: any, as is the address. Lifetime 0 deletes the mapping of this nonce."""
    if len(nonce) != NONCE_SIZE:
        raise ValueError(f"expected {NONCE_SIZE} bytes of nonce, got {len(nonce)}")
    ports = internal_port.to_bytes(2, "big") + wanted_port.to_bytes(2, "big")
    return _header(MAP, lifetime, own) + nonce + bytes((UDP, 0, 0, 0)) + ports + _mapped(IPv4Address(0))


def parse_answer(packet: bytes) -> PcpAnswer:
    """Read an answer or an announcement; options are skipped. Raises WireError."""
    if len(packet) > MAX_PACKET or len(packet) % 4:
        raise Malformed(f"expected up to {MAX_PACKET} bytes of PCP, in fours, got {len(packet)}")
    read = Reader(packet)
    read.expect(bytes((VERSION,)), "PCP version 2")
    code = read.u8()
    if not code & ANSWER:
        raise Malformed("expected a PCP answer, got a request")
    read.u8()
    result, lifetime, epoch = read.u8(), read.u32(), read.u32()
    read.take(12)
    operation = code & ~ANSWER
    mapping = _read_mapping(read) if operation == MAP and (not result or read.remaining >= MAP_SIZE) else None
    return PcpAnswer(operation, result, lifetime, epoch, mapping)


def _read_mapping(read: Reader) -> Mapping:
    nonce, protocol = read.take(NONCE_SIZE), read.u8()
    read.take(3)
    internal, external = read.u16(), read.u16()
    address = IPv6Address(read.take(16))
    return Mapping(nonce, protocol, internal, external, address.ipv4_mapped or address)


def _header(operation: int, lifetime: int, own: IPv4Address) -> bytes:
    return bytes((VERSION, operation, 0, 0)) + lifetime.to_bytes(4, "big") + _mapped(own)


def _mapped(ip: IPv4Address) -> bytes:
    return bytes(10) + b"\xff\xff" + ip.packed
