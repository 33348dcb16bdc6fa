"""Signed DNS messages: TSIG by HMAC-SHA-2 (RFC 8945).

Room: wire. Time is an argument, seconds since 1970. MD5 and SHA-1 are not spoken.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import NamedTuple

from ginnel.wire.dns import ANY_CLASS, TSIG, name_of, read_name, read_record, record_bytes
from ginnel.wire.read import Malformed, Reader

FUDGE = 300
BADSIG, BADKEY, BADTIME = 16, 17, 18
ALGORITHMS = {"hmac-sha224": 28, "hmac-sha256": 32, "hmac-sha384": 48, "hmac-sha512": 64}
"""The name of each and the bytes of its MAC."""
MIN_SECRET = 16


class BadSignature(Exception):
    """The message is not from who shares the key, or not of now. `code`: as TSIG's error field says it."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True, slots=True, repr=False)
class TsigKey:
    """A shared secret and its name, in wire form and lower case."""

    name: bytes
    algorithm: str
    secret: bytes

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise Malformed(f"expected an algorithm of {', '.join(ALGORITHMS)}, got {self.algorithm[:40]!r}")
        if len(self.secret) < MIN_SECRET:
            raise Malformed(f"expected a secret of {MIN_SECRET} bytes or more, got {len(self.secret)}")

    def __repr__(self) -> str:
        return f"TsigKey({self.name!r}, secret)"

    @property
    def size(self) -> int:
        """Bytes of the TSIG record that it makes."""
        return len(self.name) + len(name_of(self.algorithm)) + ALGORITHMS[self.algorithm] + 26


@dataclass(frozen=True, slots=True)
class Tsig:
    """What a message says of its own signature. `bare`: the message as it was before it was signed."""

    bare: bytes
    key_name: bytes
    algorithm: bytes
    time: int
    fudge: int
    mac: bytes
    original_id: int
    error: int
    other: bytes


def read_tsig(packet: bytes, at: int) -> Tsig:
    """The TSIG record at that offset, the last of the packet. Raises WireError."""
    record, end = read_record(packet, at)
    if record.type != TSIG or record.rclass != ANY_CLASS or record.ttl or end != len(packet):
        raise Malformed("expected a TSIG record at the end")
    algorithm, after = read_name(record.data, 0)
    read = Reader(record.data[after:])
    time, fudge = int.from_bytes(read.take(6), "big"), read.u16()
    mac = read.take(read.u16())
    original, error = read.u16(), read.u16()
    other = read.take(read.u16())
    additional = int.from_bytes(packet[10:12], "big") - 1
    bare = original.to_bytes(2, "big") + packet[2:10] + additional.to_bytes(2, "big") + packet[12:at]
    return Tsig(bare, record.name.lower(), algorithm.lower(), time, fudge, mac, original, error, other)


def find_tsig(packet: bytes) -> int:
    """The offset of the TSIG record of an answer, 0 where it has none. Raises WireError."""
    read = Reader(packet[:12])
    read.u32()
    questions, records = read.u16(), read.u16() + read.u16() + read.u16()
    at, last = 12, 0
    for _ in range(questions):
        _, at = read_name(packet, at)
        at += 4
    for _ in range(records):
        last = at
        record, at = read_record(packet, at)
        if record.type == TSIG and at == len(packet):
            return last
    return 0


def verify(found: Tsig, key: TsigKey, now: int, request_mac: bytes = b"", *, later: bool = False) -> None:
    """Raises BadSignature. `request_mac`: of the query that this answers; of the message before, when `later`."""
    if found.key_name != key.name or found.algorithm != name_of(key.algorithm):
        raise BadSignature(BADKEY, "signed by another key")
    stamp = _Stamp(found.time, found.fudge, found.error, found.other)
    made = _mac(found.bare, key, stamp, request_mac, later)
    if not hmac.compare_digest(made, found.mac):
        raise BadSignature(BADSIG, "the signature is wrong")
    if abs(now - found.time) > found.fudge:
        raise BadSignature(BADTIME, f"signed {now - found.time} s ago by its clock")


def sign(
    message: bytes,
    key: TsigKey,
    now: int,
    request_mac: bytes = b"",
    *,
    later: bool = False,
    error: int = 0,
    other: bytes = b"",
) -> tuple[bytes, bytes]:
    """(the signed message, its MAC). `later`: a further message of one answer, whose `request_mac` is the last MAC."""
    stamp = _Stamp(now, FUDGE, error, other)
    mac = _mac(message, key, stamp, request_mac, later)
    return _appended(message, key.name, name_of(key.algorithm), stamp, mac), mac


def unsigned(message: bytes, found: Tsig, error: int) -> bytes:
    """The answer to what was signed wrongly: a TSIG record without a MAC, and why (RFC 8945 §5.3.2)."""
    return _appended(message, found.key_name, found.algorithm, _Stamp(found.time, FUDGE, error, b""), b"")


class _Stamp(NamedTuple):
    time: int
    fudge: int
    error: int
    other: bytes


def _appended(message: bytes, key_name: bytes, algorithm: bytes, stamp: _Stamp, mac: bytes) -> bytes:
    data = algorithm + stamp.time.to_bytes(6, "big") + stamp.fudge.to_bytes(2, "big") + _sized(mac)
    data += message[:2] + stamp.error.to_bytes(2, "big") + _sized(stamp.other)
    count = int.from_bytes(message[10:12], "big") + 1
    return message[:10] + count.to_bytes(2, "big") + message[12:] + record_bytes(key_name, TSIG, ANY_CLASS, 0, data)


def _mac(message: bytes, key: TsigKey, stamp: _Stamp, request_mac: bytes, later: bool) -> bytes:
    digest = hmac.new(key.secret, digestmod=key.algorithm.removeprefix("hmac-"))
    if request_mac:
        digest.update(_sized(request_mac))
    digest.update(message)
    timers = stamp.time.to_bytes(6, "big") + stamp.fudge.to_bytes(2, "big")
    if later:
        digest.update(timers)
    else:
        head = key.name + ANY_CLASS.to_bytes(2, "big") + bytes(4) + name_of(key.algorithm)
        digest.update(head + timers + stamp.error.to_bytes(2, "big") + _sized(stamp.other))
    return digest.digest()


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
