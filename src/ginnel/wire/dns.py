"""DNS messages: names, questions, records and EDNS (RFC 1035 §4, RFC 6891, RFC 9619).

Room: wire. A name is its uncompressed wire form, `\\x03www\\x07example\\x00`; lengths stay below 64, so `bytes.lower()`
folds its case and nothing else. Any bytes give a message or a WireError, in time linear in their number.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from typing import NamedTuple

from ginnel.wire.read import Malformed, Truncated

HEADER_SIZE = 12
MAX_NAME = 255
MAX_LABEL = 63
PLAIN_UDP_SIZE = 512
"""What a client without EDNS takes by UDP (RFC 1035 §2.3.4)."""
MAX_ADDITIONAL = 8
"""Records behind the question of a query: OPT and TSIG are two; more than this is no honest query."""
MAX_JUMPS = 16
"""Pointers followed for one name: writers make one, and a chain of thousands would cost what it costs us alone."""
MAX_RECORDS = 20_000
"""Records of one answer that we read: 65,535 bytes hold no more."""

A, NS, SOA, PTR, TXT, AAAA, OPT, TSIG, IXFR, AXFR, ANY = 1, 2, 6, 12, 16, 28, 41, 250, 251, 252, 255
HINFO = 13
IN, NONE_CLASS, ANY_CLASS = 1, 254, 255
QUERY, NOTIFY, UPDATE = 0, 4, 5
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, NOTAUTH, BADVERS = 0, 1, 2, 3, 4, 5, 9, 16
QR, AA, TC, RD = 0x8000, 0x0400, 0x0200, 0x0100
DO = 0x8000
RCODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN", 7: "YXRRSET",
          8: "NXRRSET", 9: "NOTAUTH", 10: "NOTZONE"}  # fmt: skip

_HEADER = struct.Struct(">6H")
_PLAIN_LABEL = re.compile(rb"[A-Za-z0-9_-]+")


class Query(NamedTuple):
    """One question as it came. `question_end`, `tsig_at`: offsets in the packet; `tsig_at` 0: not signed. `udp_size`:
    what EDNS offers, 0 without EDNS."""

    id: int
    flags: int
    name: bytes
    type: int
    rclass: int
    question_end: int
    udp_size: int = 0
    version: int = 0
    dnssec_ok: bool = False
    tsig_at: int = 0


class Record(NamedTuple):
    name: bytes
    type: int
    rclass: int
    ttl: int
    data: bytes


class Message(NamedTuple):
    """An answer, or what we send to have one. Names inside `data` of a record stay as they were."""

    id: int
    flags: int
    question: tuple[bytes, int, int] | None
    answers: tuple[Record, ...]
    authority: tuple[Record, ...]
    additional: tuple[Record, ...]

    @property
    def rcode(self) -> int:
        return self.flags & 15


# --- names ----------------------------------------------------------------------------------------------------


def name_of(text: str) -> bytes:
    """The wire form of `www.example.com` or `www.example.com.`. Raises Malformed: labels are of letters, digits, `-`
    and `_`."""
    if text == ".":
        return b"\x00"
    try:
        labels = text.removesuffix(".").encode("ascii").split(b".")
    except UnicodeEncodeError:
        raise Malformed(f"expected an ASCII name, got {text!r}") from None
    if not all(len(label) <= MAX_LABEL and _PLAIN_LABEL.fullmatch(label) for label in labels):
        raise Malformed(f"expected labels of letters, digits and dashes, 63 at most, got {text[:80]!r}")
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\x00"
    if len(name) > MAX_NAME:
        raise Malformed(f"expected a name of at most 253 characters, got {len(text)}")
    return name


def text_of(name: bytes) -> str:
    """With the last dot; what is no letter, digit, dash or underscore as `\\DDD` (RFC 1035 §5.1)."""
    labels, at = [], 0
    while name[at]:
        labels.append(name[at + 1 : at + 1 + name[at]])
        at += 1 + name[at]
    return "".join("".join(_printed(byte) for byte in label) + "." for label in labels) or "."


def _printed(byte: int) -> str:
    return chr(byte) if _PLAIN_LABEL.fullmatch(bytes((byte,))) else f"\\{byte:03}"


def read_name(packet: bytes, at: int) -> tuple[bytes, int]:
    """(the name, the offset behind it). A pointer leads to before where its own name began, so loops are Malformed."""
    parts: list[bytes] = []
    size, end, start, jumps = 1, 0, at, 0
    while True:
        if at >= len(packet):
            raise Truncated(f"a name runs out at offset {at}")
        length = packet[at]
        if length == 0:
            return b"".join(parts) + b"\x00", end or at + 1
        if length <= MAX_LABEL:
            part = packet[at : at + 1 + length]
            size += len(part)
            if len(part) <= length or size > MAX_NAME:
                raise Malformed(f"a name is cut or longer than {MAX_NAME} bytes at offset {at}")
            parts.append(part)
            at += 1 + length
        elif length >= 0xC0 and at + 1 < len(packet):
            target = (length & 0x3F) << 8 | packet[at + 1]
            jumps += 1
            if not HEADER_SIZE <= target < start or jumps > MAX_JUMPS:
                raise Malformed(f"a name's pointer leads from offset {at} to {target}")
            end = end or at + 2
            at = start = target
        else:
            raise Malformed(f"expected a label at offset {at}, got {length:#x}")


# --- reading --------------------------------------------------------------------------------------------------


def read_query(packet: bytes) -> Query:
    """A query with one question; records in the answer section are an error, in the authority section only of IXFR."""
    if len(packet) < HEADER_SIZE:
        raise Truncated(f"expected {HEADER_SIZE} bytes of header, got {len(packet)}")
    if packet[4:8] != b"\x00\x01\x00\x00":
        raise Malformed("expected one question and no answers")
    name, at = _plain_name(packet)
    if at + 4 > len(packet):
        raise Truncated("the question is cut")
    rtype, rclass = packet[at] << 8 | packet[at + 1], packet[at + 2] << 8 | packet[at + 3]
    plain = Query(packet[0] << 8 | packet[1], packet[2] << 8 | packet[3], name, rtype, rclass, at + 4)
    if packet[8:12] == b"\x00\x00\x00\x00" and at + 4 == len(packet):
        return plain
    return _with_additional(packet, plain)


def _plain_name(packet: bytes) -> tuple[bytes, int]:
    """The question's name: there is nothing before it that a pointer could lead to."""
    at, end = HEADER_SIZE, len(packet)
    while at < end and (length := packet[at]):
        if length > MAX_LABEL:
            raise Malformed(f"expected a label at offset {at}, got {length:#x}")
        at += 1 + length
    if at >= end or at + 1 - HEADER_SIZE > MAX_NAME:
        raise Malformed(f"the question's name is cut or longer than {MAX_NAME} bytes")
    return packet[HEADER_SIZE : at + 1], at + 1


def _with_additional(packet: bytes, query: Query) -> Query:
    authority, additional = _u16(packet, 8), _u16(packet, 10)
    if authority > (query.type == IXFR) or additional > MAX_ADDITIONAL:
        raise Malformed(f"{authority} and {additional} records behind the question")
    at, edns = query.question_end, False
    for index in range(authority + additional):
        start = at
        record, at = read_record(packet, at)
        if index < authority:
            continue
        if record.type == OPT:
            if edns or record.name != b"\x00":
                raise Malformed("expected one OPT record, at the root")
            edns = True
            query = _with_edns(query, record)
        elif record.type == TSIG:
            if index != authority + additional - 1:
                raise Malformed("TSIG is not the last record")
            query = query._replace(tsig_at=start)
    if at != len(packet):
        raise Malformed(f"{len(packet) - at} bytes behind the last record")
    return query


def _with_edns(query: Query, opt: Record) -> Query:
    """Sizes below 512 count as 512 (RFC 6891 §6.2.3)."""
    size = max(opt.rclass, PLAIN_UDP_SIZE)
    return query._replace(udp_size=size, version=opt.ttl >> 16 & 0xFF, dnssec_ok=bool(opt.ttl & DO))


def read_record(packet: bytes, at: int) -> tuple[Record, int]:
    name, at = read_name(packet, at)
    if at + 10 > len(packet):
        raise Truncated("a record's head is cut")
    size = _u16(packet, at + 8)
    end = at + 10 + size
    if end > len(packet):
        raise Truncated(f"expected {size} bytes of record, {len(packet) - at - 10} are left")
    ttl = int.from_bytes(packet[at + 4 : at + 8], "big")
    return Record(name, _u16(packet, at), _u16(packet, at + 2), ttl, packet[at + 10 : end]), end


def read_message(packet: bytes) -> Message:
    """The whole of an answer."""
    if len(packet) < HEADER_SIZE:
        raise Truncated(f"expected {HEADER_SIZE} bytes of header, got {len(packet)}")
    questions, *counts = (_u16(packet, at) for at in (4, 6, 8, 10))
    if questions > 1 or sum(counts) > MAX_RECORDS:
        raise Malformed(f"{questions} questions, {sum(counts)} records")
    at, question = HEADER_SIZE, None
    if questions:
        name, at = read_name(packet, at)
        if at + 4 > len(packet):
            raise Truncated("the question is cut")
        question, at = (name, _u16(packet, at), _u16(packet, at + 2)), at + 4
    sections = []
    for count in counts:
        records = []
        for _ in range(count):
            record, at = read_record(packet, at)
            records.append(record)
        sections.append(tuple(records))
    return Message(_u16(packet, 0), _u16(packet, 2), question, *sections)


def _u16(packet: bytes, at: int) -> int:
    return packet[at] << 8 | packet[at + 1]


# --- writing --------------------------------------------------------------------------------------------------


def header(ident: int, flags: int, questions: int, records: tuple[int, int, int] = (0, 0, 0)) -> bytes:
    """`records`: how many in the answer, authority and additional sections."""
    return _HEADER.pack(ident, flags, questions, *records)


def record_bytes(name: bytes, rtype: int, rclass: int, ttl: int, data: bytes) -> bytes:
    """`name` may be a pointer, `\\xc0\\x0c`."""
    head = rtype.to_bytes(2, "big") + rclass.to_bytes(2, "big") + ttl.to_bytes(4, "big")
    return name + head + len(data).to_bytes(2, "big") + data


def opt_bytes(size: int, rcode: int = 0, dnssec_ok: bool = False) -> bytes:
    """Our OPT record, version 0; `rcode`'s upper bits go in here (RFC 6891 §6.1.3)."""
    return record_bytes(b"\x00", OPT, size, (rcode >> 4) << 24 | (DO if dnssec_ok else 0), b"")


def question_bytes(name: bytes, rtype: int, rclass: int = IN) -> bytes:
    return name + rtype.to_bytes(2, "big") + rclass.to_bytes(2, "big")


def query_bytes(ident: int, name: bytes, rtype: int) -> bytes:
    """A query without recursion."""
    return header(ident, QUERY << 11, 1) + question_bytes(name, rtype)


def update_bytes(ident: int, zone: bytes, records: Iterable[Record]) -> bytes:
    """A dynamic update without prerequisites, carried out in the order of its records (RFC 2136 §2, §3.4.2)."""
    body = [record_bytes(*record) for record in records]
    return header(ident, UPDATE << 11, 1, (0, len(body), 0)) + question_bytes(zone, SOA) + b"".join(body)


def notify_bytes(ident: int, zone: bytes) -> bytes:
    """RFC 1996 §3."""
    return header(ident, NOTIFY << 11 | AA, 1) + question_bytes(zone, SOA)
