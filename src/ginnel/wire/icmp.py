"""ICMP echo over IPv4 (RFC 792): the way to a relay is timed by it where UDP is blocked.

Room: wire. Bytes become messages and back.
"""

from __future__ import annotations

from dataclasses import dataclass

from ginnel.wire.read import Malformed, Reader

ECHO_REPLY, ECHO_REQUEST = 0, 8
IHL_UNIT = 4


@dataclass(frozen=True, slots=True)
class EchoReply:
    number: int
    sequence: int
    payload: bytes


def echo_request(number: int, sequence: int, payload: bytes) -> bytes:
    """`number`, `sequence`: 16 bits each. A ping socket of Linux writes its own number over ours."""
    body = number.to_bytes(2, "big") + sequence.to_bytes(2, "big") + payload
    head = bytes([ECHO_REQUEST, 0])
    return head + checksum(head + b"\0\0" + body).to_bytes(2, "big") + body


def parse_echo_reply(packet: bytes) -> EchoReply:
    """Without the IP header (`without_ip_header`). Raises WireError for every other packet."""
    read = Reader(packet)
    kind, code = read.u8(), read.u8()
    if (kind, code) != (ECHO_REPLY, 0):
        raise Malformed(f"expected an ICMP echo reply, got type {kind}, code {code}")
    read.u16()
    number, sequence = read.u16(), read.u16()
    payload = read.rest()
    if checksum(packet):
        raise Malformed("the ICMP checksum is wrong")
    return EchoReply(number, sequence, payload)


def without_ip_header(packet: bytes) -> bytes:
    """What a raw socket reads begins with the IPv4 header, what a ping socket reads does not. Raises WireError."""
    read = Reader(packet)
    first = read.u8()
    if first >> 4 != 4:
        raise Malformed("expected an IPv4 header")
    read.take(max(0, (first & 0xF) * IHL_UNIT - 1))
    return read.rest()


def checksum(data: bytes) -> int:
    """The complement of the one's complement sum (RFC 1071); 0 over a packet that holds its own."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(padded[at : at + 2], "big") for at in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
