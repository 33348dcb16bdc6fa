"""The zone's server: who may have which answer, by which transport, how often, signed or not.

Room: core. One call for each message; nothing is kept between two but the rate limit's buckets and the counters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from ginnel.core.relaydns.answer import MAX_TCP_SIZE, bare, opened, reply, slipped, udp_size
from ginnel.core.relaydns.limit import DEFAULT_RATE, AnswerLimit, Verdict, prefix_of
from ginnel.core.relaydns.transfer import current, transfer
from ginnel.core.relaydns.zone import Zone
from ginnel.wire.dns import AXFR, FORMERR, HEADER_SIZE, IN, IXFR, NOTAUTH, QR, REFUSED, Query, header
from ginnel.wire.read import WireError
from ginnel.wire.tsig import BADKEY, BADTIME, BadSignature, Tsig, TsigKey, read_tsig, sign, unsigned, verify
from ginnel.words import Instant, WallTime

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class TransferPolicy:
    """Who may have the whole zone: from one of the networks and with one of the keys, both. Nobody, without them."""

    networks: tuple[Network, ...] = ()
    keys: tuple[TsigKey, ...] = ()

    def allows(self, source: bytes) -> bool:
        address = ip_address(source)
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped in network for network in self.networks)


class Responder:
    """`zone` is replaced whole at each change. `counters`: messages by what came of them."""

    def __init__(
        self,
        zone: Zone,
        rate: float = DEFAULT_RATE,
        transfers: TransferPolicy | None = None,
        counters: Counter[str] | None = None,
    ) -> None:
        self.zone = zone
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._limit = AnswerLimit(rate)
        self._transfers = transfers or TransferPolicy()
        self._keys = {key.name: key for key in self._transfers.keys}

    def receive(self, packet: bytes, source: bytes, now: Instant, wall: WallTime, *, tcp: bool) -> Sequence[bytes]:
        """The messages to send back, in order; often one, by UDP never two. `source`: the packed address."""
        verdict = Verdict.ANSWER if tcp else self._limit.take(prefix_of(source), now)
        if verdict is Verdict.DROP:
            self.counters["limited"] += 1
            return ()
        query = opened(packet)
        if not isinstance(query, Query):
            return self._not_a_query(query)
        if verdict is Verdict.SLIP:
            self.counters["slipped"] += 1
            return (slipped(query, packet),)
        if query.tsig_at:
            return self._signed(query, packet, source, wall, tcp)
        made = reply(self.zone, query, packet, MAX_TCP_SIZE if tcp else udp_size(query))
        self.counters[_outcome(made)] += 1
        return (made,)

    def _not_a_query(self, made: bytes | None) -> Sequence[bytes]:
        if made is None:
            self.counters["ignored"] += 1
            return ()
        self.counters[_outcome(made)] += 1
        return (made,)

    # --- signed messages and transfers -----------------------------------------------------------------------

    def _signed(self, query: Query, packet: bytes, source: bytes, wall: WallTime, tcp: bool) -> Sequence[bytes]:
        try:
            found = read_tsig(packet, query.tsig_at)
        except WireError:
            return self._not_a_query(bare(packet, FORMERR))
        key, question = self._keys.get(found.key_name), packet[HEADER_SIZE : query.question_end]
        try:
            if key is None:
                raise BadSignature(BADKEY, "unknown key")
            verify(found, key, int(wall))
        except BadSignature as error:
            self.counters["bad signature"] += 1
            return (_refusal(header(query.id, QR | NOTAUTH, 1) + question, found, key, error, int(wall)),)
        if query.type in (AXFR, IXFR) and query.rclass == IN and query.name.lower() == self.zone.origin:
            allowed = self._transfers.allows(source) and (tcp or query.type == IXFR)
            return self._transferred(query, packet, _Signer(key, int(wall), found.mac), allowed, tcp)
        limit = MAX_TCP_SIZE if tcp else udp_size(query)
        made = reply(self.zone, query, packet, limit - key.size)
        self.counters[_outcome(made)] += 1
        return (sign(made, key, int(wall), found.mac)[0],)

    def _transferred(self, query: Query, packet: bytes, signer: _Signer, allowed: bool, tcp: bool) -> Sequence[bytes]:
        if not allowed:
            self.counters["transfer refused"] += 1
            return (signer.sign(header(query.id, QR | REFUSED, 1) + packet[HEADER_SIZE : query.question_end]),)
        self.counters["transfer"] += 1
        messages = transfer(self.zone, query, packet) if tcp else [current(self.zone, query, packet)]
        return [signer.sign(message) for message in messages]


@dataclass(slots=True)
class _Signer:
    """Signs the messages of one answer, each over the one before it; the first over the query's MAC."""

    key: TsigKey
    now: int
    mac: bytes
    later: bool = False

    def sign(self, message: bytes) -> bytes:
        made, self.mac = sign(message, self.key, self.now, self.mac, later=self.later)
        self.later = True
        return made


def _outcome(made: bytes) -> str:
    rcode = made[3] & 15
    if made[2] & 2:
        return "truncated"
    return _OUTCOMES.get(rcode, "refused")


_OUTCOMES = {0: "answered", 1: "malformed", 2: "unknown now", 3: "no such name", 4: "not implemented", 5: "refused"}


def _refusal(message: bytes, found: Tsig, key: TsigKey | None, error: BadSignature, now: int) -> bytes:
    """Why in its TSIG record: signed only where the key is right and the clock is not (RFC 8945 §5.2)."""
    if error.code == BADTIME and key is not None:
        return sign(message, key, found.time, found.mac, error=BADTIME, other=now.to_bytes(6, "big"))[0]
    return unsigned(message, found, error.code)
