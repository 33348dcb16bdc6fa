"""Getting through NATs that ordinary disco cannot: when to try, with whom, how often, and which sockets are kept.

Room: core. Only between ginnel nodes, only after the ordinary means have failed, and never more than PACE packets a
second from this node, whoever asks. What is aimed at is an address that the peer tells by authenticated disco and that
the server's map names for that peer as well. One attempt is in punch_session.py, its packets in punch_shots.py.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence

from ginnel.core.node.actions import CloseSides
from ginnel.core.node.constants import SHUNNED_FORGOTTEN
from ginnel.core.node.home_region import NO_REGION
from ginnel.core.node.path_actions import NEVER
from ginnel.core.node.path_policy import PathPolicy
from ginnel.core.node.peers import Peer
from ginnel.core.node.punch_rules import (
    OFFERS_IN,
    SEARCHES,
    Record,
    is_aimable,
    is_ginnel,
    same_boxes_failed,
    too_many,
)
from ginnel.core.node.punch_session import End, Fire, PunchAction, Session, Tell, nat_of
from ginnel.core.node.punch_shots import Technique
from ginnel.core.node.punch_sockets import KeptSockets
from ginnel.wire.punch import SESSION_SIZE, NatKind, Punch, Step
from ginnel.words import Endpoint, Instant, NodeKey

BEGINS_AFTER = 1.8  # seconds of fruitless search by ordinary means: their quick rounds are through
BEGINS_AGAIN_AFTER = 0.5  # where such a path was found before, so that ordinary means are known to fail
AT_ONCE = 2  # sessions
PACE = 100.0  # packets a second of all sessions together
BURST = 2
TTLS = (2, 3, 4, 6, 0)  # of openers, one for each attempt: past the own NATs, not as far as the peer's
SEARCHES_IN = 300.0  # no peer makes us search more than SEARCHES times in it
FIRST_PAUSE = {End.NO_ANSWER: 5.0, End.REFUSED: 60.0, End.HOPELESS: 300.0, End.MISSED: 300.0}
PAUSE_MAX = 3600.0  # each pause is twice the last
AFTER_SUCCESS = 2.0
AFTER_CONVICTION = 60.0  # the way that was found carried no data: the next one would go through the same boxes
ALL_OFFERS, ALL_OFFERS_IN = 60, 60.0  # of all peers together


class Puncher:
    """`servers`: STUN servers over IPv4, nearest first. `in_use`: the side socket by which a peer's path goes, 0: none.
    `allowed` by the policy, and not on a `metered` link: whether ports that nobody named may be tried."""

    def __init__(
        self,
        entropy: Callable[[int], bytes],
        servers: Callable[[], Sequence[Endpoint]],
        in_use: Callable[[NodeKey], int],
        drops: Counter[str],
    ) -> None:
        self.allowed = True
        self.metered = False
        self.own_key: NodeKey | None = None
        self._entropy = entropy
        self._servers = servers
        self._kept = KeptSockets(in_use)
        self._drops = drops
        self._sessions: dict[NodeKey, Session] = {}
        self._records: dict[NodeKey, Record] = {}
        self._last_number = 0
        self._offers: deque[Instant] = deque(maxlen=ALL_OFFERS)
        self._slot: Instant = NEVER

    # --- paths ---

    def look(self, peer: Peer, now: Instant) -> list[PunchAction]:
        """Something about this peer's path may have changed."""
        session = self._sessions.get(peer.key)
        if peer.path.policy is PathPolicy.RELAY:
            return self._drop(peer.key)
        if peer.path.trusted(now):
            return self._found(session, peer, now) if session is not None else []
        self._note_conviction(peer, now)
        since = peer.path.searching_since
        if session is not None or since is None or now - since < BEGINS_AGAIN_AFTER or not self._may_begin(peer, now):
            return []
        record = self._record(peer.key)
        if not record.found and now - since < BEGINS_AFTER:
            return []
        record.attempt = 0
        return self._begin(peer.key, now)

    def _may_begin(self, peer: Peer, now: Instant) -> bool:
        record = self._records.get(peer.key)
        if record is not None and now < max(record.not_before, record.shunned_until):
            return False
        return (
            len(self._sessions) < AT_ONCE
            and peer.path.active(now)
            and peer.path.region != NO_REGION
            and is_ginnel(peer)
            and not same_boxes_failed(peer, now)
        )

    def _note_conviction(self, peer: Peer, now: Instant) -> None:
        """Each search finds other ports, so that no endpoint is shunned twice (shunned.py): ways to the peer are."""
        record = self._records.get(peer.key)
        if record is None or record.way is None:
            return
        way, record.way = record.way, None
        if not peer.path.shunned.now(way, now):
            return
        if now - record.shunned_until > SHUNNED_FORGOTTEN:
            record.convictions = 0
        record.convictions += 1
        pause = min(PAUSE_MAX, AFTER_CONVICTION * 2.0 ** min(record.convictions - 1, 12))
        record.shunned_until = Instant(now + pause)

    def _found(self, session: Session, peer: Peer, now: Instant) -> list[PunchAction]:
        """There is a path, by a socket of this session or otherwise. Only a search that found it is not counted: else a
        peer could get us to search on and on, by a path that it shows and hides."""
        del self._sessions[session.peer]
        record = self._record(session.peer)
        if peer.path.socket in session.sockets:
            record.way = peer.path.endpoint
            if session.counted:
                record.searches.pop()
        record.nats, record.ended = session.nats(), ""
        record.failures, record.not_before, record.found = 0, Instant(now + AFTER_SUCCESS), session.shooting
        self._kept.keep(session.sockets, session.peer, now)
        return []

    def moved(self) -> list[PunchAction]:
        """We are in another network: what was begun is void, what failed may go now."""
        actions = [action for key in list(self._sessions) for action in self._drop(key)]
        self._records.clear()
        return actions

    def forget(self, peer: NodeKey) -> list[PunchAction]:
        """The peer is gone."""
        self._records.pop(peer, None)
        return [*self._drop(peer), *self._kept.forget(peer)]

    # --- sessions ---

    def _begin(self, peer: NodeKey, now: Instant) -> list[PunchAction]:
        ttl = TTLS[self._record(peer).attempt]
        session = self._new(peer, self._entropy(SESSION_SIZE), ttl, now)
        return self._after(session, session.start(now), now)

    def _new(self, peer: NodeKey, identity: bytes, ttl: int, now: Instant, offer: Punch | None = None) -> Session:
        self._last_number += 1
        theirs = nat_of(offer) if offer is not None else None
        session = Session(
            peer, self._last_number, identity, ttl, servers=self._servers(), entropy=self._entropy, theirs=theirs
        )
        record = self._record(peer)
        spent = too_many(record.searches, SEARCHES_IN, now)
        session.may_probe = lambda: self._may_guess and not spent
        self._sessions[peer] = session
        return session

    @property
    def _may_guess(self) -> bool:
        return self.allowed and not self.metered

    def _after(self, session: Session, actions: list[PunchAction], now: Instant) -> list[PunchAction]:
        """What a session wants, and what follows if it has ended."""
        for action in actions:
            if isinstance(action, Fire):  # before its turn: what comes after waits the longer
                self._slot = Instant(max(self._slot, now) + 1 / PACE)
        if session.searching and not session.counted:  # from its beginning: the peer can end it at any moment
            session.counted = True
            self._record(session.peer).searches.append(now)
        if session.over is None:
            return actions
        return [*actions, *self._ended(session, session.over, now)]

    def _ended(self, session: Session, why: End, now: Instant) -> list[PunchAction]:
        record = self._record(session.peer)
        record.nats, record.ended = session.nats(), why.name.lower().replace("_", " ")
        closed = self._drop(session.peer)
        if not session.begins:  # the peer decides whether there is another attempt; we don't begin one meanwhile
            if why is not End.NO_ANSWER:
                record.not_before = max(record.not_before, Instant(now + FIRST_PAUSE[why]))
            return closed
        attempts = SEARCHES if session.technique is Technique.BIRTHDAY else len(TTLS)
        if why is End.MISSED and record.attempt + 1 < attempts:
            record.attempt += 1
            return [*closed, *self._begin(session.peer, now)]
        pause = min(PAUSE_MAX, FIRST_PAUSE[why] * 2.0 ** min(record.failures, 12))
        record.failures, record.not_before = record.failures + 1, Instant(now + pause)
        return closed

    def _drop(self, peer: NodeKey) -> list[PunchAction]:
        session = self._sessions.pop(peer, None)
        return [CloseSides(session.sockets)] if session is not None and session.sockets else []

    def _record(self, peer: NodeKey) -> Record:
        return self._records.setdefault(peer, Record())

    # --- the peer's words ---

    def told(self, peer: Peer, message: Punch, now: Instant) -> list[PunchAction]:
        """An authentic message of the peer, by relay."""
        if message.step is not Step.REFUSED and not is_aimable(peer, message.endpoint):
            return self._refuse_silently("punch.address")
        if message.nat is NatKind.UNKNOWN and message.step is not Step.REFUSED:
            return self._refuse_silently("punch.unknown_nat")
        session = self._sessions.get(peer.key)
        same = session is not None and session.identity == message.session
        if message.step is Step.OFFER and not same:
            return self._offered(peer, message, session, now)
        if session is None or not same:
            return self._refuse_silently("punch.no_session")
        if message.step is Step.OFFER:
            return session.said()
        return self._after(session, session.told(message, now), now)

    def _offered(self, peer: Peer, offer: Punch, session: Session | None, now: Instant) -> list[PunchAction]:
        if peer.path.trusted(now):
            return []  # the mesh has the path asked; if it is dead, the peer's next word finds us ready
        record = self._record(peer.key)
        if too_many(record.offers, OFFERS_IN, now) or too_many(self._offers, ALL_OFFERS_IN, now):
            return self._refuse_silently("punch.offers")
        record.offers.append(now)
        self._offers.append(now)
        if session is not None and session.begins and not session.shooting and self._yields(peer.key):
            return []
        closed = self._drop(peer.key)
        failed = now < record.shunned_until or same_boxes_failed(peer, now)
        unwanted = peer.path.policy is PathPolicy.RELAY or failed
        if len(self._sessions) >= AT_ONCE or unwanted:
            refusal = Punch(Step.REFUSED, offer.session, NatKind.UNKNOWN, offer.endpoint)
            return [*closed, Tell(peer.key, refusal)]
        answering = self._new(peer.key, offer.session, offer.ttl, now, offer)
        return [*closed, *self._after(answering, answering.start(now), now)]

    def _yields(self, peer: NodeKey) -> bool:
        """Both offered at once: the one with the smaller key goes on, so the peer gives way if that is ours."""
        return self.own_key is not None and self.own_key < peer

    def _refuse_silently(self, reason: str) -> list[PunchAction]:
        self._drops[reason] += 1
        return []

    # --- side sockets ---

    def opened(self, request: int, sockets: Sequence[tuple[int, int]], now: Instant) -> list[PunchAction]:
        """The answer to `OpenSides`."""
        for session in self._sessions.values():
            if session.number == request:
                return self._after(session, session.opened(sockets, now), now)
        return [CloseSides(tuple(number for number, _ in sockets))] if sockets else []

    def stun_received(self, source: Endpoint, socket: int, packet: bytes, now: Instant) -> list[PunchAction] | None:
        """A STUN answer came to a side socket. None: nobody asked for it."""
        for session in list(self._sessions.values()):
            answered = session.stun_received(source, socket, packet, now)
            if answered is not None:
                return self._after(session, answered, now)
        return None

    def seen(self, peer: NodeKey) -> tuple[NatKind, NatKind, str]:
        """Our NAT and the peer's as a session saw them, and why the last one found nothing ("": none ended so)."""
        if (session := self._sessions.get(peer)) is not None:
            return *session.nats(), ""
        record = self._records.get(peer)
        return (*record.nats, record.ended) if record is not None else (NatKind.UNKNOWN, NatKind.UNKNOWN, "")

    def holds(self, socket: int) -> bool:
        """Whether it is open. What came to one just before it was closed leads to no path by it."""
        return socket in self._kept or any(socket in session.sockets for session in self._sessions.values())

    def heard(self, socket: int, now: Instant) -> None:
        """A peer's disco came to this side socket."""
        self._kept.heard(socket, now)

    # --- time ---

    def tick(self, now: Instant) -> list[PunchAction]:
        actions: list[PunchAction] = [*self._kept.release(now)]
        for session in list(self._sessions.values()):
            if session.guessing and not self._may_guess:
                session.over = End.REFUSED
            actions += self._after(session, session.tick(now) if session.over is None else [], now)
        return [*actions, *self._shots(now)]

    def _shots(self, now: Instant) -> list[PunchAction]:
        """As many as the pace allows; sessions take turns."""
        actions: list[PunchAction] = []
        self._slot = max(self._slot, Instant(now - BURST / PACE))
        while self._slot <= now:
            due = [key for key, session in self._sessions.items() if (session.shot_due() or now + 1) <= now]
            if not due:
                break
            session = self._sessions.pop(due[0])
            self._sessions[due[0]] = session
            actions += session.shoot()
            self._slot = Instant(self._slot + 1 / PACE)
        return actions

    def next_timeout(self) -> Instant | None:
        times = [self._kept.next_timeout(), *(session.next_timeout() for session in self._sessions.values())]
        shots = [shot for session in self._sessions.values() if (shot := session.shot_due()) is not None]
        if shots:
            times.append(max(min(shots), Instant(self._slot + (BURST - 1) / PACE)))
        return min((at for at in times if at is not None), default=None)
