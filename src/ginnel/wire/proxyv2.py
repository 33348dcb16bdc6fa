"""The PROXY protocol's binary preamble: who is at the far end of a spliced connection (haproxy: proxy-protocol.txt
§2.2).

Room: wire. Bytes become messages and back. No sockets, clocks, randomness or logs come in.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from ginnel.wire.read import Malformed, Reader

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
HEADER_SIZE = 16
MAX_SIZE = 1024  # of addresses and TLVs; ours are below 100 bytes
LOCAL, PROXY = 0x20, 0x21
INET, INET6 = 0x11, 0x21
TLV_SSL = 0x20
CLIENT_SSL = 1


@dataclass(frozen=True, slots=True)
class Preamble:
    """`source`: address and port of the client, None when the proxy speaks for itself. `tls`: it came by TLS."""

    source: tuple[str, int] | None
    tls: bool = False


def parse_preamble(data: bytes) -> tuple[Preamble, int] | None:
    """(preamble, bytes it took), or None while more bytes are needed. Raises WireError as soon as it cannot be one."""
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
        raise Malformed("expected a PROXY v2 preamble")
    if len(data) < HEADER_SIZE:
        return None
    size = int.from_bytes(data[14:16], "big")
    if size > MAX_SIZE:
        raise Malformed(f"PROXY preamble of {size} bytes, at most {MAX_SIZE} are read")
    if len(data) < HEADER_SIZE + size:
        return None
    body = Reader(data[HEADER_SIZE : HEADER_SIZE + size])
    return _read(data[12], data[13], body), HEADER_SIZE + size


def _read(command: int, family: int, body: Reader) -> Preamble:
    if command == LOCAL:
        return Preamble(None)
    if command != PROXY or family not in (INET, INET6):
        raise Malformed(f"PROXY command {command:#x} of family {family:#x} is not known here")
    size = 4 if family == INET else 16
    source, _destination = ip_address(body.take(size)), body.take(size)
    port, _ = body.u16(), body.u16()
    return Preamble((str(source), port), _has_tls(body))


def _has_tls(body: Reader) -> bool:
    while body:
        kind, value = body.u8(), Reader(body.take(body.u16()))
        if kind == TLV_SSL:
            return bool(value.u8() & CLIENT_SSL)
    return False


def encode_preamble(source: tuple[str, int], *, tls: bool) -> bytes:
    """As a front door writes it; the destination is left at zero."""
    ip = ip_address(source[0])
    family, size = (INET, 4) if isinstance(ip, IPv4Address) else (INET6, 16)
    body = ip.packed + bytes(size) + source[1].to_bytes(2, "big") + bytes(2)
    if tls:
        body += bytes([TLV_SSL]) + (5).to_bytes(2, "big") + bytes([CLIENT_SSL]) + bytes(4)
    return SIGNATURE + bytes([PROXY, family]) + len(body).to_bytes(2, "big") + body
