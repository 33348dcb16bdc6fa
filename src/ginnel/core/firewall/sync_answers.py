"""What an answer of DNS is worth to a firewall: the addresses in it, for how long, and which are refused
(RFC 1035 §4.1; RFC 2308 §2 for answers that say "nothing").

Room: core. Whoever answers for a name, or between, may write what he likes. An address of the firewall's own host, of
a private network or of the mesh itself would open a way that nobody asked for, so it stays out unless it is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from ginnel.core.firewall.checked import Refused
from ginnel.core.firewall.hosts import Trust
from ginnel.core.firewall.sync_words import Answer, Question
from ginnel.wire.dns import (
    AAAA,
    HEADER_SIZE,
    IN,
    NOERROR,
    NXDOMAIN,
    QR,
    RCODES,
    A,
    Message,
    Record,
    name_of,
    read_message,
    read_name,
    read_record,
)
from ginnel.wire.read import Malformed
from ginnel.words import IpAddress

CNAME = 5
MAX_CNAMES = 8
NOTHING_TTL = 60.0
"""Of an answer without addresses; asking again costs little, and nothing is taken away by it."""


def refusal(address: IpAddress, trust: Trust) -> str:
    """Why an address may not stand in a set; "" when it may."""
    try:
        trust.address(address)
    except Refused as error:
        return str(error)
    return ""


def answer_in(packet: bytes, question: Question, trust: Trust) -> Answer:
    """What a recursive resolver's answer says. Raises WireError where it says nothing of use: another question, an
    error, bytes that are no message."""
    message = read_message(packet)
    name, rtype = name_of(question.name).lower(), A if question.family == 4 else AAAA
    asked = message.question
    if not message.flags & QR or asked is None or (asked[0].lower(), *asked[1:]) != (name, rtype, IN):
        raise Malformed("an answer to another question")
    if message.rcode not in (NOERROR, NXDOMAIN):
        raise Malformed(RCODES.get(message.rcode, f"RCODE {message.rcode}"))
    found = {} if message.rcode == NXDOMAIN else _addresses(packet, message, name, rtype)
    if not found:
        return Answer(frozenset(), NOTHING_TTL)
    why = {ip: refusal(ip, trust) for ip in found}
    refused = tuple(reason for reason in why.values() if reason)
    return Answer(frozenset(ip for ip in found if not why[ip]), float(min(found.values())), refused)


def _addresses(packet: bytes, message: Message, name: bytes, rtype: int) -> dict[IpAddress, int]:
    """With the least TTL on the way to each. Raises Malformed."""
    aliases = {record.name.lower(): (target, record.ttl) for record, target in _aliases(packet, len(message.answers))}
    least = 2**31
    for _ in range(MAX_CNAMES):
        if name not in aliases:
            break
        name, ttl = aliases[name]
        least = min(least, _ttl(ttl))
    else:
        raise Malformed(f"more than {MAX_CNAMES} aliases")
    here = [r for r in message.answers if (r.name.lower(), r.type, r.rclass) == (name, rtype, IN)]
    if any(len(record.data) != (4 if rtype == A else 16) for record in here):
        raise Malformed("an address that is too short or too long")
    return {ip_address(record.data): min(least, _ttl(record.ttl)) for record in here}


def _aliases(packet: bytes, count: int) -> Iterator[tuple[Record, bytes]]:
    """Their names may point into the packet."""
    at = read_name(packet, HEADER_SIZE)[1] + 4
    for _ in range(count):
        record, at = read_record(packet, at)
        if record.type == CNAME and record.rclass == IN:
            yield record, read_name(packet, at - len(record.data))[0].lower()


def _ttl(ttl: int) -> int:
    """With its highest bit set it counts as 0 (RFC 2181 §8)."""
    return ttl if ttl < 2**31 else 0
