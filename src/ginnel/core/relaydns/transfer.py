"""The whole zone for secondaries: AXFR, and IXFR answered by it (RFC 5936, RFC 1995 §4).

Room: core.
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.core.relaydns.zone import Zone
from ginnel.wire.dns import AA, HEADER_SIZE, IN, IXFR, QR, SOA, Query, header, read_record, record_bytes
from ginnel.wire.read import WireError

CHUNK = 16 * 1024
"""Bytes of one message: far below 65,535, so that a signature fits, and names could be pointed to."""


def transfer(zone: Zone, query: Query, packet: bytes) -> Iterator[bytes]:
    """The messages of the answer, unsigned. To IXFR from who has the serial, the SOA record alone says so; to others
    the whole zone, as a server that keeps no history answers."""
    soa = _soa(zone)
    if query.type == IXFR and _serial_of(packet, query) == zone.serial:
        yield _message(query, packet, [soa])
        return
    records, size = [soa], len(soa)
    for record in (*_all_but_soa(zone), soa):
        if size + len(record) > CHUNK:
            yield _message(query, packet, records)
            records, size = [], 0
        records.append(record)
        size += len(record)
    yield _message(query, packet, records)


def current(zone: Zone, query: Query, packet: bytes) -> bytes:
    """To IXFR by UDP: the serial, from which the secondary sees whether to come by TCP (RFC 1995 §2)."""
    return _message(query, packet, [_soa(zone)])


def _soa(zone: Zone) -> bytes:
    found = zone.records[zone.origin][SOA]
    return record_bytes(zone.origin, SOA, IN, found.ttl, found.data[0])


def _serial_of(packet: bytes, query: Query) -> int | None:
    try:
        record, _ = read_record(packet, query.question_end)
    except WireError:
        return None
    return int.from_bytes(record.data[-20:-16], "big") if record.type == SOA and len(record.data) > 20 else None


def _all_but_soa(zone: Zone) -> Iterator[bytes]:
    for name, sets in sorted(zone.records.items()):
        for rtype, found in sorted(sets.items()):
            if rtype != SOA:
                yield from (record_bytes(name, rtype, IN, found.ttl, data) for data in found.data)


def _message(query: Query, packet: bytes, records: list[bytes]) -> bytes:
    head = header(query.id, QR | AA, 1, (len(records), 0, 0))
    return head + packet[HEADER_SIZE : query.question_end] + b"".join(records)
