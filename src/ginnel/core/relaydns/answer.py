"""One query, one answer, out of a zone (RFC 1034 §4.3.2, RFC 2308, RFC 6891, RFC 8482): no recursion, no referrals.

Room: core. The answers echo the question as it came, so that resolvers which vary its case know them again.
"""

from __future__ import annotations

from ginnel.core.relaydns.zone import Zone, is_within
from ginnel.wire.dns import (
    AA,
    AAAA,
    ANY,
    AXFR,
    BADVERS,
    FORMERR,
    HEADER_SIZE,
    HINFO,
    IN,
    IXFR,
    NOERROR,
    NOTIMP,
    NS,
    NXDOMAIN,
    OPT,
    PLAIN_UDP_SIZE,
    QR,
    RD,
    REFUSED,
    SERVFAIL,
    SOA,
    TC,
    A,
    Query,
    header,
    opt_bytes,
    read_query,
    record_bytes,
)
from ginnel.wire.read import WireError

MAX_UDP_SIZE = 1232
"""What fits every path without fragments (DNS flag day 2020); also what our OPT record offers."""
MAX_TCP_SIZE = 0xFFFF
_ANY_TTL = 300
_ANY_ANSWER = b"\x07RFC8482\x00"
_TO_QUESTION = b"\xc0\x0c"


def answer(zone: Zone, packet: bytes, *, tcp: bool, slip: bool = False) -> bytes | None:
    """The answer, or None where none may be given: to answers, which could go round for ever, and to what has no
    header. Signatures and zone transfers are not looked at here. `slip`: only that it would have to be asked by TCP."""
    query = opened(packet)
    if not isinstance(query, Query):
        return query
    return slipped(query, packet) if slip else reply(zone, query, packet, MAX_TCP_SIZE if tcp else udp_size(query))


def opened(packet: bytes) -> Query | bytes | None:
    """The query, or what to answer to what is none, or None."""
    if len(packet) < HEADER_SIZE or packet[2] & 0x80:
        return None
    if packet[2] & 0x78:
        return bare(packet, NOTIMP)
    try:
        return read_query(packet)
    except WireError:
        return bare(packet, FORMERR)


def slipped(query: Query, packet: bytes) -> bytes:
    return _framed(query, packet, TC, NOERROR)


def udp_size(query: Query) -> int:
    return min(query.udp_size, MAX_UDP_SIZE) if query.udp_size else PLAIN_UDP_SIZE


def bare(packet: bytes, rcode: int) -> bytes:
    """A header alone: to what was not understood. It is never longer than what it answers."""
    flags = QR | (packet[2] & 0x79) << 8 | rcode
    return packet[:2] + flags.to_bytes(2, "big") + bytes(8)


def reply(zone: Zone, query: Query, packet: bytes, limit: int) -> bytes:
    """`limit`: the bytes that the asker takes."""
    if query.version:
        return _framed(query, packet, 0, BADVERS)
    name = query.name.lower()
    if query.rclass != IN or not is_within(name, zone.origin):
        return _framed(query, packet, 0, REFUSED)
    if query.type >= 128 or query.type == OPT:
        return _meta(zone, query, packet, name)
    found = zone.answers.get(name)
    if found is None:
        return _negative(zone, query, packet, NXDOMAIN)
    records = found.get(query.type)
    if records is None:
        if (name, query.type) in zone.unknown:
            return _framed(query, packet, 0, SERVFAIL)
        return _negative(zone, query, packet, NOERROR)
    blob, number = records
    if number > 1:
        blob = _rotated(blob, number, query)
    size = query.question_end + len(blob) + (11 if query.udp_size else 0)
    if size > limit:
        return _framed(query, packet, AA | TC, NOERROR)
    if query.type == NS:
        return _with_glue(zone, query, packet, (blob, number), limit)
    return _framed(query, packet, AA, NOERROR, blob, (number, 0, 0))


def _rotated(blob: bytes, number: int, query: Query) -> bytes:
    """Begun at another record for each query: many clients take the first. NS records differ in size and stay."""
    if query.type not in (A, AAAA):
        return blob
    cut = query.id % number * (len(blob) // number)
    return blob[cut:] + blob[:cut]


def _meta(zone: Zone, query: Query, packet: bytes, name: bytes) -> bytes:
    if query.type in (AXFR, IXFR):
        return _framed(query, packet, 0, REFUSED)
    if query.type != ANY:
        return _framed(query, packet, 0, NOTIMP)
    if name not in zone.answers:
        return _negative(zone, query, packet, NXDOMAIN)
    made = record_bytes(_TO_QUESTION, HINFO, IN, _ANY_TTL, _ANY_ANSWER)
    return _framed(query, packet, AA, NOERROR, made, (1, 0, 0))


def _negative(zone: Zone, query: Query, packet: bytes, rcode: int) -> bytes:
    soa = zone.records[zone.origin][SOA]
    at = query.question_end - 4 - len(zone.origin)
    owner = (0xC000 | at).to_bytes(2, "big")
    ttl = min(soa.ttl, zone.negative_ttl)
    return _framed(query, packet, AA, rcode, record_bytes(owner, SOA, IN, ttl, soa.data[0]), (0, 1, 0))


def _with_glue(zone: Zone, query: Query, packet: bytes, servers: tuple[bytes, int], limit: int) -> bytes:
    """Addresses of the name servers that are in the zone, as far as they fit."""
    blob, number = servers
    glue, room = [], limit - query.question_end - len(blob) - 11
    for name in zone.records[zone.origin][NS].data:
        for rtype, found in zone.records.get(name, {}).items():
            for data in found.data:
                made = record_bytes(name, rtype, IN, found.ttl, data)
                if len(made) <= room:
                    room -= len(made)
                    glue.append(made)
    return _framed(query, packet, AA, NOERROR, blob + b"".join(glue), (number, 0, len(glue)))


def _framed(  # noqa: PLR0917
    query: Query, packet: bytes, flags: int, rcode: int, body: bytes = b"", counts: tuple[int, int, int] = (0, 0, 0)
) -> bytes:
    if query.udp_size:
        body += opt_bytes(MAX_UDP_SIZE, rcode, query.dnssec_ok)
        counts = (counts[0], counts[1], counts[2] + 1)
    head = header(query.id, QR | flags | (query.flags & RD) | (rcode & 15), 1, counts)
    return head + packet[HEADER_SIZE : query.question_end] + body
