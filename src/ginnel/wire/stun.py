"""STUN binding as netcheck uses it: the address a NAT gave us (RFC 8489 §5, §14; tailscale: net/stun/stun.go).

Room: wire. Bytes become messages and back; transaction ids are arguments. No sockets, clocks, randomness or logs
come in. The request is always the same 40 bytes but for the transaction id and the check sum, and servers are strict
about it: they answer nothing else, so they cannot be used to flood others.
"""

from __future__ import annotations

from binascii import crc32
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from ginnel.wire.read import Malformed, Reader
from ginnel.words import Endpoint

BINDING_REQUEST, BINDING_SUCCESS = 0x0001, 0x0101
MAGIC_COOKIE = 0x2112A442
MAPPED_ADDRESS, XOR_MAPPED_ADDRESS = 0x0001, 0x0020
XOR_MAPPED_ADDRESS_MISNUMBERED = 0x8020  # before RFC 5389 settled, and still in the field
SOFTWARE, FINGERPRINT = 0x8022, 0x8028
FINGERPRINT_XOR = 0x5354554E

HEADER_SIZE = 20
TRANSACTION_ID_SIZE = 12
REQUEST_SIZE = 40
SOFTWARE_NAME = b"tailnode"  # servers of this kind answer no other software

_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
_FAMILIES = {1: 4, 2: 16}


@dataclass(frozen=True, slots=True)
class BindingSuccess:
    transaction_id: bytes
    mapped: Endpoint


def is_stun(packet: bytes) -> bool:
    """By its first 8 bytes, for sorting datagrams: no promise that it can be read."""
    return len(packet) >= HEADER_SIZE and packet[0] < 0x40 and packet[4:8] == _COOKIE


def binding_request(transaction_id: bytes) -> bytes:
    """40 bytes. `transaction_id`: 12 random bytes."""
    if len(transaction_id) != TRANSACTION_ID_SIZE:
        raise ValueError(f"expected {TRANSACTION_ID_SIZE} bytes of transaction id, got {len(transaction_id)}")
    software = SOFTWARE.to_bytes(2, "big") + len(SOFTWARE_NAME).to_bytes(2, "big") + SOFTWARE_NAME
    request = _header(BINDING_REQUEST, REQUEST_SIZE - HEADER_SIZE, transaction_id) + software
    return request + FINGERPRINT.to_bytes(2, "big") + b"\0\4" + _fingerprint(request)


def parse_binding_request(packet: bytes) -> bytes:
    """The transaction id of a request that deserves an answer. Raises WireError for every other packet."""
    kind, transaction_id, attributes = _open(packet)
    if kind != BINDING_REQUEST:
        raise Malformed(f"expected a STUN binding request, got type {kind:#06x}")
    software, last, after = b"", 0, b""
    while attributes:
        if last == FINGERPRINT:
            raise Malformed("the fingerprint is not the last attribute")
        last, value = _attribute(attributes)
        if last == SOFTWARE:
            software = value
        after = value
    if software != SOFTWARE_NAME:
        raise Malformed(f"expected the software {SOFTWARE_NAME.decode()}")
    if last != FINGERPRINT or after != _fingerprint(packet[:-8]):
        raise Malformed("the fingerprint is missing or wrong")
    return transaction_id


def binding_success(transaction_id: bytes, source: Endpoint) -> bytes:
    """The answer: 32 bytes for IPv4, 44 for IPv6."""
    address = source.ip.packed
    mask = _COOKIE + transaction_id
    value = b"\0" + (b"\1" if source.is_v4 else b"\2")
    value += (source.port ^ (MAGIC_COOKIE >> 16)).to_bytes(2, "big") + _xor(address, mask)
    attribute = XOR_MAPPED_ADDRESS.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value
    return _header(BINDING_SUCCESS, len(attribute), transaction_id) + attribute


def parse_binding_success(packet: bytes) -> BindingSuccess:
    """Read an answer; trailing bytes and unknown attributes are skipped. Raises WireError."""
    kind, transaction_id, attributes = _open(packet)
    if kind != BINDING_SUCCESS:
        raise Malformed(f"expected a STUN binding success, got type {kind:#06x}")
    fallback: Endpoint | None = None
    while attributes:
        number, value = _attribute(attributes)
        if number in (XOR_MAPPED_ADDRESS, XOR_MAPPED_ADDRESS_MISNUMBERED):
            return BindingSuccess(transaction_id, _read_address(value, _COOKIE + transaction_id))
        if number == MAPPED_ADDRESS and fallback is None:
            fallback = _read_address(value, bytes(16))
    if fallback is None:
        raise Malformed("STUN binding success without a mapped address")
    return BindingSuccess(transaction_id, fallback)


def _header(kind: int, length: int, transaction_id: bytes) -> bytes:
    return kind.to_bytes(2, "big") + length.to_bytes(2, "big") + _COOKIE + transaction_id


def _open(packet: bytes) -> tuple[int, bytes, Reader]:
    read = Reader(packet)
    kind, length = read.u16(), read.u16()
    read.expect(_COOKIE, "the STUN cookie")
    transaction_id = read.take(TRANSACTION_ID_SIZE)
    attributes = Reader(read.take(length))
    if read and kind == BINDING_REQUEST:
        raise Malformed(f"{read.remaining} bytes follow the STUN request")
    return kind, transaction_id, attributes


def _attribute(attributes: Reader) -> tuple[int, bytes]:
    number, size = attributes.u16(), attributes.u16()
    return number, attributes.take(size, pad_to=4)


def _read_address(value: bytes, mask: bytes) -> Endpoint:
    read = Reader(value)
    read.u8()
    size = _FAMILIES.get(family := read.u8())
    if size is None:
        raise Malformed(f"expected address family 1 or 2, got {family}")
    port = read.u16() ^ int.from_bytes(mask[:2], "big")
    address: IPv4Address | IPv6Address = ip_address(_xor(read.take(size), mask))
    return Endpoint(address, port)


def _xor(data: bytes, mask: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(data, mask, strict=False))


def _fingerprint(before: bytes) -> bytes:
    return (crc32(before) ^ FINGERPRINT_XOR).to_bytes(4, "big")
