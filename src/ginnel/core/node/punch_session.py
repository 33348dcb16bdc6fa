"""One attempt to get through to one peer: look at the own NAT, agree with the peer, shoot.

Room: core. The one who begins offers, the other answers; both then know both NATs and with that the technique
(punch_shots.py). Time and entropy are arguments; what is to be done comes back as actions.

    opening -> surveying -> (offers) waiting -> shooting -> over
                        \\-> (answers)       -> shooting
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from ginnel.core.node.actions import CloseSides, OpenSides, SendUdp
from ginnel.core.node.punch_nat import Nat, Sample, judge
from ginnel.core.node.punch_shots import (
    LISTEN,
    SEARCH_LIMIT,
    SOCKETS,
    Shot,
    Technique,
    guesses,
    late_pings,
    opener,
    openers,
    pings,
    technique,
)
from ginnel.wire import stun
from ginnel.wire.punch import NatKind, Punch, Step
from ginnel.wire.read import WireError
from ginnel.words import Endpoint, Instant, NodeKey

SURVEYED = 3  # sockets by which the own NAT is judged
SERVERS = 2  # STUN servers asked by each
ASK_AGAIN = (0.2, 0.3, 0.5)  # seconds after the last time; then what is there must do
OPEN_LIMIT = 1.0
ANSWER_LIMIT = 4.0
TELL_AGAIN = 0.4  # and each time after twice as long


@dataclass(frozen=True, slots=True)
class Tell:
    """Send the peer this message by its relay."""

    peer: NodeKey
    message: Punch


@dataclass(frozen=True, slots=True)
class Fire:
    """Ping the peer."""

    peer: NodeKey
    shot: Shot


PunchAction = Tell | Fire | SendUdp | OpenSides | CloseSides


class End(Enum):
    """Why a session is over without a path."""

    NO_ANSWER = auto()  # of STUN, of the system or of the peer
    REFUSED = auto()
    HOPELESS = auto()  # hard against hard
    MISSED = auto()  # everything was shot


@dataclass(slots=True)
class Opening:
    """Side sockets are being opened."""

    until: Instant


@dataclass(slots=True)
class Surveying:
    """`asked`: transaction id -> (socket's port, server), in order; `seen`: what was answered."""

    asked: dict[bytes, tuple[int, int, Endpoint]]
    again_at: Instant
    tries: int = 0
    seen: dict[bytes, Endpoint] = field(default_factory=dict)


@dataclass(slots=True)
class Waiting:
    """For the peer's next word. What was said last is repeated, as relays may drop it."""

    until: Instant
    repeat: Punch
    again_at: Instant
    gap: float = TELL_AGAIN


@dataclass(slots=True)
class Shooting:
    began: Instant
    until: Instant
    shots: Iterator[Shot]
    next: Shot | None


class Session:
    """`number`: of its requests for side sockets. `begins`: this side makes the offer. `over`: why it ended, None: not
    yet. `may_probe`: whether ports that nobody named may be tried, when it comes to that. `counted`: as a birthday
    search, by whoever bounds them."""

    def __init__(
        self,
        peer: NodeKey,
        number: int,
        identity: bytes,
        ttl: int,
        *,
        servers: Sequence[Endpoint],
        entropy: Callable[[int], bytes],
        theirs: Nat | None = None,
    ) -> None:
        self.peer, self.number, self.identity, self.ttl = peer, number, identity, ttl
        self.begins = theirs is None
        self.over: End | None = None
        self.sockets: tuple[int, ...] = ()
        self.own: Nat | None = None
        self.theirs = theirs
        self.technique: Technique | None = None
        self.may_probe: Callable[[], bool] = lambda: True
        self.counted = False
        self._servers = tuple(servers)[:SERVERS]
        self._entropy = entropy
        self._socket = 0
        self._said: Punch | None = None
        self._phase: Opening | Surveying | Waiting | Shooting = Opening(Instant(0.0))

    # --- the own NAT ---

    def start(self, now: Instant) -> list[PunchAction]:
        if not self._servers:
            return self._end(End.NO_ANSWER)
        self._phase = Opening(Instant(now + OPEN_LIMIT))
        return [OpenSides(self.number, SURVEYED)]

    def opened(self, sockets: Sequence[tuple[int, int]], now: Instant) -> list[PunchAction]:
        """sockets: (number, local port) of those that were asked for."""
        self.sockets += tuple(number for number, _ in sockets)
        if not isinstance(self._phase, Opening):
            return []
        if self.own is not None:
            return self._shoot(openers(self.sockets[-len(sockets) :], self._known(), self.ttl), now) if sockets else []
        if len(sockets) < SURVEYED:
            return self._end(End.NO_ANSWER)
        asked = {
            self._entropy(stun.TRANSACTION_ID_SIZE): (number, port, server)
            for number, port in sockets
            for server in self._servers
        }
        self._phase = Surveying(asked, Instant(now + ASK_AGAIN[0]))
        return self._ask(self._phase)

    def _ask(self, survey: Surveying) -> list[PunchAction]:
        return [
            SendUdp(server, stun.binding_request(tx_id), number)
            for tx_id, (number, _, server) in survey.asked.items()
            if tx_id not in survey.seen
        ]

    def stun_received(self, source: Endpoint, socket: int, packet: bytes, now: Instant) -> list[PunchAction] | None:
        """None: no answer to anything that was asked."""
        if not isinstance(self._phase, Surveying):
            return None
        try:
            answer = stun.parse_binding_success(packet)
        except WireError:
            return None
        asked = self._phase.asked.get(answer.transaction_id)
        if asked is None or (asked[0], asked[2]) != (socket, source) or not answer.mapped.is_v4:
            return None
        self._phase.seen[answer.transaction_id] = answer.mapped
        return self._surveyed(self._phase, now) if len(self._phase.seen) == len(self._phase.asked) else []

    def _surveyed(self, survey: Surveying, now: Instant) -> list[PunchAction]:
        rows = [(asked, survey.seen[tx_id]) for tx_id, asked in survey.asked.items() if tx_id in survey.seen]
        samples = [Sample(port, server, mapped) for (_, port, server), mapped in rows]
        self.own = judge(samples)
        if self.own is None:
            return self._end(End.NO_ANSWER)
        self._socket = rows[-1][0][0]
        spare = tuple(socket for socket in self.sockets if socket != self._socket)
        self.sockets = (self._socket,)
        return [CloseSides(spare), *(self._offer(now) if self.begins else self._answer(now))]

    # --- agreeing ---

    def _offer(self, now: Instant) -> list[PunchAction]:
        return self._say_and_wait(Step.OFFER, now)

    def _answer(self, now: Instant) -> list[PunchAction]:
        """What can be opened here is opened before the answer invites the peer."""
        if not self._agree():
            return [Tell(self.peer, self._message(Step.REFUSED))]
        own, theirs = self._kinds()
        told: list[PunchAction] = [Tell(self.peer, self._message(Step.ANSWER))]
        match self.technique:
            case Technique.BIRTHDAY:
                return [*told, *self._search(now)]
            case Technique.PREDICT if (own, theirs) == (NatKind.EASY, NatKind.SEQUENTIAL):
                return self._say_and_wait(Step.ANSWER, now)
        opening: list[PunchAction] = [Fire(self.peer, shot) for shot in opener(self._socket, self._known(), self.ttl)]
        return [*opening, *told, *self._shoot(late_pings(self._socket, self._known()), now)]

    def told(self, message: Punch, now: Instant) -> list[PunchAction]:
        """A message of this session."""
        if message.step is Step.REFUSED:
            return self._refused(message)
        if not isinstance(self._phase, Waiting):
            return []
        match (message.step, self.begins):
            case (Step.ANSWER, True):
                self.theirs = nat_of(message)
                return self._answered(now)
            case (Step.OPENED, False):
                self.theirs = nat_of(message)
                return self._shoot(pings(self._socket, self._known(), self._own()), now)
        return []

    def _refused(self, message: Punch) -> list[PunchAction]:
        known = self.own is not None and message.nat is not NatKind.UNKNOWN
        self.theirs = nat_of(message) if known else self.theirs
        hopeless = known and technique(self._own().kind, message.nat) is None
        return self._end(End.HOPELESS if hopeless else End.REFUSED)

    def _answered(self, now: Instant) -> list[PunchAction]:
        if not self._agree():
            return [Tell(self.peer, self._message(Step.REFUSED))]
        own, theirs = self._kinds()
        if self.technique is Technique.BIRTHDAY:
            return self._search(now)
        if (own, theirs) == (NatKind.SEQUENTIAL, NatKind.EASY):
            opening = [Fire(self.peer, shot) for shot in opener(self._socket, self._known(), self.ttl)]
            opened = Tell(self.peer, self._message(Step.OPENED))
            return [*opening, opened, *self._shoot(late_pings(self._socket, self._known()), now)]
        return self._shoot(pings(self._socket, self._known(), self._own()), now)

    def _agree(self) -> bool:
        """Both NATs are known: whether to go on."""
        self.technique = technique(*self._kinds())
        if self.technique is None:
            self._end(End.HOPELESS)
        elif self.technique is not Technique.FRESH and not self.may_probe():
            self._end(End.REFUSED)
        return self.over is None

    def _search(self, now: Instant) -> list[PunchAction]:
        if self._own().kind is NatKind.RANDOM:
            self._phase = Opening(Instant(now + OPEN_LIMIT))
            return [OpenSides(self.number, SOCKETS)]
        return self._shoot(guesses(self._socket, self._known(), self._entropy), now)

    def _say_and_wait(self, step: Step, now: Instant) -> list[PunchAction]:
        message = self._message(step)
        self._phase = Waiting(Instant(now + ANSWER_LIMIT), message, Instant(now + TELL_AGAIN))
        return [Tell(self.peer, message)]

    def _message(self, step: Step) -> Punch:
        own = self._own()
        self._said = Punch(step, self.identity, own.kind, own.outside, own.delta, self.ttl)
        return self._said

    def said(self) -> list[PunchAction]:
        """What was said last, for a peer that asks again: it may have been lost."""
        return [Tell(self.peer, self._said)] if self._said is not None else []

    # --- shooting ---

    def _shoot(self, shots: Iterator[Shot], now: Instant) -> list[PunchAction]:
        limit = SEARCH_LIMIT + LISTEN if self.technique is Technique.BIRTHDAY else 2 * LISTEN
        self._phase = Shooting(now, Instant(now + limit), shots, next(shots, None))
        return []

    def shot_due(self) -> Instant | None:
        """When the next shot may go."""
        phase = self._phase
        if not isinstance(phase, Shooting) or phase.next is None or self.over is not None:
            return None
        return Instant(phase.began + phase.next.at)

    def shoot(self) -> list[PunchAction]:
        """Take the next shot, now that it is due and the pace allows it."""
        phase = self._phase
        if not isinstance(phase, Shooting) or phase.next is None:
            return []
        shot, phase.next = phase.next, next(phase.shots, None)
        return [Fire(self.peer, shot)]

    # --- time ---

    @property
    def shooting(self) -> bool:
        return isinstance(self._phase, Shooting)

    @property
    def guessing(self) -> bool:
        """Ports that nobody named are tried."""
        return self.technique not in (None, Technique.FRESH)

    @property
    def searching(self) -> bool:
        """A birthday search is agreed upon."""
        return self.technique is Technique.BIRTHDAY and self.over is not End.REFUSED

    def next_timeout(self) -> Instant | None:
        match self._phase:
            case Surveying(again_at=again_at):
                return again_at
            case Waiting(until=until, again_at=again_at):
                return min(until, again_at)
            case Opening(until) | Shooting(until=until):
                return until

    def tick(self, now: Instant) -> list[PunchAction]:
        phase = self._phase
        match phase:
            case Opening() if now >= phase.until:
                return self._end(End.NO_ANSWER)
            case Surveying() if now >= phase.again_at:
                phase.tries += 1
                if phase.tries < len(ASK_AGAIN):
                    phase.again_at = Instant(now + ASK_AGAIN[phase.tries])
                    return self._ask(phase)
                return self._surveyed(phase, now) if phase.seen else self._end(End.NO_ANSWER)
            case Waiting() if now >= phase.until:
                return self._end(End.NO_ANSWER)
            case Waiting() if now >= phase.again_at:
                phase.gap *= 2
                phase.again_at = Instant(now + phase.gap)
                return [Tell(self.peer, phase.repeat)]
            case Shooting() if now >= phase.until:
                return self._end(End.MISSED)
        return []

    def _end(self, why: End) -> list[PunchAction]:
        self.over = why
        return []

    # --- what is known by now ---

    def _own(self) -> Nat:
        assert self.own is not None
        return self.own

    def _known(self) -> Nat:
        assert self.theirs is not None
        return self.theirs

    def nats(self) -> tuple[NatKind, NatKind]:
        """Ours and the peer's, as far as they are known."""
        own, theirs = self.own, self.theirs
        return own.kind if own else NatKind.UNKNOWN, theirs.kind if theirs else NatKind.UNKNOWN

    def _kinds(self) -> tuple[NatKind, NatKind]:
        return self._own().kind, self._known().kind


def nat_of(message: Punch) -> Nat:
    return Nat(message.nat, message.endpoint, message.delta)
