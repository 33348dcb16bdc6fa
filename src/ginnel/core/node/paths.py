"""One peer's path: relayed until a pong proves a direct endpoint, both ways at once when trust in it ends.

Room: core. Inputs return `Probe`, `Invite` and `Steer`; the mesh seals and sends (mesh.py). The search is in rounds.py.
Model: tailscale: wgengine/magicsock/endpoint.go. Its timeline is drawn in constants.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from ginnel.core.node.actions import Steer
from ginnel.core.node.candidates import Candidates
from ginnel.core.node.constants import (
    CALL_BACK_AFTER,
    CALL_BACK_GAP,
    CALL_ME_MAYBE_IS_NEWS,
    GOOD_ENOUGH_LATENCY,
    HEARTBEAT_INTERVAL,
    PONG_DUE_FACTOR,
    PONG_DUE_MIN,
    PROVEN_ENDPOINT_INTERVAL,
    REACTIVE_PING_GAP,
    SESSION_ACTIVE_TIMEOUT,
    SILENCE_IS_SUSPECT,
    SILENCE_WAS_FLOW,
    TRUST_UDP_ADDR_DURATION,
    UPGRADE_UDP_DIRECT_INTERVAL,
)
from ginnel.core.node.path_actions import NEVER, PathAction, Purpose
from ginnel.core.node.probe_budget import ProbeBudget
from ginnel.core.node.rounds import Rounds
from ginnel.core.node.scoring import Proven, better
from ginnel.words import Endpoint, Instant, NodeKey, RegionId


@dataclass(frozen=True, slots=True)
class Relayed:
    """No direct endpoint is known to work."""


@dataclass(frozen=True, slots=True)
class Direct:
    """The endpoint answered, last at `proven_at`. Alone in use until `trusted_until`; after that the relay is used as
    well. `doubted`: it did not answer in time."""

    proven: Proven
    proven_at: Instant
    doubted: bool = False

    @property
    def trusted_until(self) -> Instant:
        return NEVER if self.doubted else Instant(self.proven_at + TRUST_UDP_ADDR_DURATION)


class Timer(Enum):
    """What a chooser may wait for."""

    HEARTBEAT = auto()
    NEXT_ROUND = auto()
    TRUST_ENDS = auto()
    SILENCE = auto()
    PONG_DUE = auto()
    CALL_BACK = auto()


class PathChooser:
    """See the module. `region`: the relay region by which the peer is reached; 0: none."""

    def __init__(self, peer: NodeKey, budget: ProbeBudget) -> None:
        self.peer = peer
        self.region = RegionId(0)
        self.path: Relayed | Direct = Relayed()
        self.last_sent = NEVER
        self.last_received = NEVER
        self._rounds = Rounds(budget)
        self._heard_direct = NEVER
        self._last_pinged = NEVER
        self._timers: dict[Timer, Instant] = {}
        self._searching_since: Instant | None = None
        self._steered: tuple[Endpoint | None, RegionId, int] = (None, RegionId(0), 0)

    # --- views ---

    @property
    def candidates(self) -> Candidates:
        return self._rounds.candidates

    def active(self, now: Instant) -> bool:
        return now - self.last_sent < SESSION_ACTIVE_TIMEOUT

    def trusted(self, now: Instant) -> bool:
        return isinstance(self.path, Direct) and now < self.path.trusted_until

    @property
    def endpoint(self) -> Endpoint | None:
        """In use, trusted or not."""
        return self.path.proven.endpoint if isinstance(self.path, Direct) else None

    @property
    def socket(self) -> int:
        """That reaches the endpoint in use; 0: the tunnel's own."""
        return self.path.proven.socket if isinstance(self.path, Direct) else 0

    @property
    def searching_since(self) -> Instant | None:
        """Since when a direct path has been wanted and not found. None: there is one, or nobody wants it. Whoever knows
        other ways than asking the candidates may begin some seconds later; what it finds goes into `ponged`."""
        return self._searching_since

    def next_timeout(self) -> Instant | None:
        return min(self._planned().values(), default=None)

    def _planned(self) -> dict[Timer, Instant]:
        if self._rounds.next_at is None:
            return self._timers
        return self._timers | {Timer.NEXT_ROUND: self._rounds.next_at}

    # --- what the map says ---

    def region_changed(self, region: RegionId, now: Instant) -> list[PathAction]:
        self.region = region
        return self._steer(now)

    def map_endpoints(self, endpoints: Iterable[Endpoint], now: Instant) -> list[PathAction]:
        new = self.candidates.from_map(endpoints, now)
        if new:
            self._rounds.hope_again()
        return self._rounds.at_ordinary_pace(now) if new and self.active(now) and not self.trusted(now) else []

    # --- traffic ---

    def sent(self, now: Instant) -> list[PathAction]:
        """The tunnel sent for this peer."""
        was_active = self.active(now)
        self.last_sent = now
        if not was_active:
            self._rounds.hope_again()
        if Timer.HEARTBEAT not in self._timers:
            self._timers[Timer.HEARTBEAT] = Instant(now + HEARTBEAT_INTERVAL)
        if not self.trusted(now):
            return [*self._search(now), *self._steer(now)]
        return self._suspect(now) if now - self._heard_direct > SILENCE_IS_SUSPECT else []

    def received(self, by: Endpoint | None, now: Instant) -> list[PathAction]:
        """Authentic data came by that endpoint, or by a relay. It never moves the path: anybody may have captured
        and repeated the packet."""
        self.last_received = now
        if by is None:
            return self.contacted(now)
        if by == self.endpoint:
            self._heard_direct = now
            self._timers[Timer.SILENCE] = Instant(now + SILENCE_IS_SUSPECT)
        return []

    def contacted(self, now: Instant) -> list[PathAction]:
        """The peer speaks to us by a relay. Whatever it wants, a direct path will serve it better."""
        return self._search(now)

    # --- disco ---

    def called(self, endpoints: Iterable[Endpoint], now: Instant) -> list[PathAction]:
        """The peer's call-me-maybe: it has just opened its NAT towards us, so ask everywhere at once. Not answered
        with one of ours: two sides would call each other for ever. Who calls has no path to us, or has lost it, so
        one of ours that was not proven just now must answer quickly."""
        if self.candidates.from_call_me_maybe(endpoints, now):
            self._rounds.hope_again()
        if isinstance(self.path, Direct) and self.trusted(now) and now - self.path.proven_at > CALL_ME_MAYBE_IS_NEWS:
            self._await_pong(self.path.proven.latency, now)
            if self.socket or self.candidates.get(self.path.proven.endpoint) is None:
                return [*self._rounds.ask_all(now), *self._ask_path(now)]
        return self._rounds.begin(now) if self._may_hurry(now) else self._rounds.ask_all(now)

    def pinged(self, endpoint: Endpoint, now: Instant, *, socket: int = 0) -> list[PathAction]:
        """The peer's ping came from there. Its NAT is open for our answer now, and for a ping of ours: from the socket
        that it came to. What an auxiliary socket hears is no candidate for the others."""
        self._last_pinged = now
        if socket:
            return [] if self.trusted(now) else self._rounds.probe(endpoint, Purpose.DISCOVERY, now, socket=socket)
        new = self.candidates.from_ping(endpoint, now)
        candidate = self.candidates.get(endpoint)
        if candidate is None or (self.trusted(now) and not new):
            return []
        if candidate.last_ping is not None and now - candidate.last_ping < REACTIVE_PING_GAP:
            return []
        return self._rounds.probe(endpoint, Purpose.DISCOVERY, now)

    def may_probe(self, endpoint: Endpoint, now: Instant) -> bool:
        """Whether a ping that somebody asked for may go there; if so it is counted."""
        return self._rounds.may_probe(endpoint, now)

    def ponged(self, proven: Proven, now: Instant) -> list[PathAction]:
        """A ping of ours to that endpoint was answered."""
        self._rounds.answered(proven, now)
        if isinstance(self.path, Direct) and self.path.proven.way != proven.way:
            if self.trusted(now) and not better(proven, self.path.proven):
                return []
            self._heard_direct = NEVER
        return self._use(proven, now, now)

    def _use(self, proven: Proven, proven_at: Instant, now: Instant) -> list[PathAction]:
        if not self.trusted(now):
            self._timers[Timer.CALL_BACK] = Instant(now + CALL_BACK_AFTER)
        self.path = Direct(proven, proven_at)
        self._timers[Timer.TRUST_ENDS] = self.path.trusted_until
        self._timers.pop(Timer.PONG_DUE, None)
        self._searching_since = None
        self._rounds.stop()
        return self._steer(now)

    def ping_lost(self, endpoint: Endpoint, now: Instant) -> list[PathAction]:
        """No pong within PING_TIMEOUT."""
        if endpoint != self.endpoint or self.trusted(now):
            return []
        self.path = Relayed()
        return self._steer(now)

    def unsendable(self, endpoint: Endpoint, now: Instant) -> list[PathAction]:
        """The kernel has no way there: the path is gone at once."""
        return self._lose(now) if endpoint == self.endpoint else []

    def refused(self, endpoint: Endpoint, now: Instant) -> list[PathAction]:
        """A firewall of this machine refused a packet to there: perhaps that one, perhaps all."""
        return self._distrust(now) if endpoint == self.endpoint and self.trusted(now) else []

    def moved(self, now: Instant) -> list[PathAction]:
        """Our own sockets or addresses are others now: nothing is proven any more. The peer may well hear us where it
        is, so that way stays in use beside the relay until it fails to answer."""
        self._rounds.forget()
        return self._distrust(now)

    def restarted(self, now: Instant) -> list[PathAction]:
        """The peer's process is another one. Most likely it is where it was, so that way stays in use beside the relay
        until the new process has answered there or failed to."""
        self._rounds.forget()
        return self._distrust(now)

    # --- time ---

    def tick(self, now: Instant) -> list[PathAction]:
        actions: list[PathAction] = []
        for timer in [timer for timer, at in self._planned().items() if at <= now]:
            if self._planned().get(timer, now + 1) <= now:  # an earlier one may have stopped it
                self._timers.pop(timer, None)
                actions += self._due(timer, now)
        return actions

    def _due(self, timer: Timer, now: Instant) -> list[PathAction]:
        match timer:
            case Timer.HEARTBEAT:
                return self._heartbeat(now)
            case Timer.NEXT_ROUND:
                return self._rounds.next_of_burst(now)
            case Timer.SILENCE:
                return self._suspect(now) if now - self.last_sent < SILENCE_IS_SUSPECT else []
            case Timer.TRUST_ENDS | Timer.PONG_DUE:
                return self._distrust(now)
            case Timer.CALL_BACK:
                return self._call_back(now)

    def _heartbeat(self, now: Instant) -> list[PathAction]:
        if not self.active(now):
            self._searching_since = None
            return []
        actions = self._ask_path(now)
        if self._wants_full_round(now):
            actions += self._rounds.at_ordinary_pace(now)
        lost_one = not self.trusted(now) and any(c.proven_lately(now) for _, c in self.candidates.items())
        self._timers[Timer.HEARTBEAT] = Instant(now + (PROVEN_ENDPOINT_INTERVAL if lost_one else HEARTBEAT_INTERVAL))
        return actions

    def _wants_full_round(self, now: Instant) -> bool:
        if not isinstance(self.path, Direct) or not self.trusted(now):
            return True
        slow = self.path.proven.latency > GOOD_ENOUGH_LATENCY
        return slow and now - self._rounds.last_full >= UPGRADE_UDP_DIRECT_INTERVAL

    def _suspect(self, now: Instant) -> list[PathAction]:
        """We send and the peer, heard until now, is silent: ask, and don't wait long for the answer."""
        if not isinstance(self.path, Direct) or not self.trusted(now):
            return []
        if now - self._heard_direct > SILENCE_WAS_FLOW or Timer.PONG_DUE in self._timers:
            return []
        if asked := self._ask_path(now):
            self._await_pong(self.path.proven.latency, now)
        return asked

    def _await_pong(self, latency: float, now: Instant) -> None:
        self._timers.setdefault(Timer.PONG_DUE, Instant(now + max(PONG_DUE_MIN, PONG_DUE_FACTOR * latency)))

    def _distrust(self, now: Instant) -> list[PathAction]:
        """The endpoint stays in use, and the relay with it, unless another one has answered since."""
        if isinstance(self.path, Direct):
            other = self.candidates.best_since(max(self.path.proven_at, Instant(now - TRUST_UDP_ADDR_DURATION)))
            self.path = dataclasses.replace(self.path, doubted=True)
            if other is not None:
                self._heard_direct = NEVER
                return self._use(*other, now)
        return self._without_trust(now)

    def _lose(self, now: Instant) -> list[PathAction]:
        self.path = Relayed()
        return self._without_trust(now)

    def _without_trust(self, now: Instant) -> list[PathAction]:
        for timer in (Timer.TRUST_ENDS, Timer.PONG_DUE, Timer.CALL_BACK):
            self._timers.pop(timer, None)
        if not self.active(now):
            return self._steer(now)
        self._searching_since = self._searching_since or now
        self._timers[Timer.HEARTBEAT] = Instant(now + PROVEN_ENDPOINT_INTERVAL)
        return [*self._steer(now), *self._rounds.anew(now)]

    def _call_back(self, now: Instant) -> list[PathAction]:
        """The path was proven a moment ago. A peer that knows it too has pinged us meanwhile; one that has not may wait
        for seconds with its next round (official ones do) unless it is called."""
        if not self.trusted(now) or now - self._last_pinged < CALL_BACK_GAP:
            return []
        return self._rounds.invite(now, gap=CALL_BACK_GAP, though_found=True)

    # --- what follows ---

    def _ask_path(self, now: Instant) -> list[PathAction]:
        """Ping by the way in use."""
        if not isinstance(self.path, Direct):
            return []
        endpoint, socket = self.path.proven.way
        return self._rounds.probe(endpoint, Purpose.HEARTBEAT, now, socket=socket)

    def _search(self, now: Instant) -> list[PathAction]:
        """Start the quick rounds, unless they were just run."""
        if self._searching_since is None and self.active(now):
            self._searching_since = now
        return self._rounds.begin(now, invite=True) if self._may_hurry(now) else []

    def _may_hurry(self, now: Instant) -> bool:
        return not self.trusted(now) and self._rounds.may_hurry(now)

    def _steer(self, now: Instant) -> list[PathAction]:
        target = (self.endpoint, RegionId(0) if self.trusted(now) else self.region, self.socket)
        if target == self._steered:
            return []
        self._steered = target
        return [Steer(self.peer, *target)]
