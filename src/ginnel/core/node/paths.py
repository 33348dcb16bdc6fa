"""One peer's path: relayed until a pong proves a direct endpoint, both ways at once when trust in it ends.

Room: core. Inputs return `Probe`, `Invite` and `Steer`; the mesh seals and sends (mesh.py). Model: tailscale:
wgengine/magicsock/endpoint.go. Its timeline is drawn in constants.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from ginnel.core.node.actions import Steer
from ginnel.core.node.candidates import Candidates
from ginnel.core.node.constants import (
    DISCO_PING_INTERVAL,
    FIRST_ROUNDS,
    FIRST_ROUNDS_AGAIN,
    FIRST_ROUNDS_AGAIN_MAX,
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
from ginnel.core.node.probe_budget import ProbeBudget
from ginnel.core.node.scoring import Proven, better
from ginnel.words import Endpoint, Instant, NodeKey, RegionId

NEVER = Instant(float("-inf"))


class Purpose(Enum):
    DISCOVERY = auto()
    HEARTBEAT = auto()
    CLI = auto()


@dataclass(frozen=True, slots=True)
class Probe:
    """Ping the peer at this endpoint."""

    endpoint: Endpoint
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Invite:
    """Send the peer a call-me-maybe by its relay, with fresh endpoints of ours."""


PathAction = Probe | Invite | Steer


@dataclass(frozen=True, slots=True)
class Relayed:
    """No direct endpoint is known to work."""


@dataclass(frozen=True, slots=True)
class Direct:
    """The endpoint answered. Alone in use until `trusted_until`; after that the relay is used as well."""

    proven: Proven
    trusted_until: Instant


class Timer(Enum):
    """What a chooser may wait for."""

    HEARTBEAT = auto()
    NEXT_ROUND = auto()
    TRUST_ENDS = auto()
    SILENCE = auto()
    PONG_DUE = auto()


class PathChooser:
    """See the module. `region`: the relay region by which the peer is reached; 0: none."""

    def __init__(self, peer: NodeKey, budget: ProbeBudget) -> None:
        self.peer = peer
        self.region = RegionId(0)
        self.path: Relayed | Direct = Relayed()
        self.candidates = Candidates()
        self.last_sent = NEVER
        self.last_received = NEVER
        self._budget = budget
        self._heard_direct = NEVER
        self._burst_began = NEVER
        self._burst_gap = FIRST_ROUNDS_AGAIN
        self._rounds_done = 0
        self._last_full_round = NEVER
        self._last_invite = NEVER
        self._timers: dict[Timer, Instant] = {}
        self._steered: tuple[Endpoint | None, RegionId] = (None, RegionId(0))

    # --- views ---

    def active(self, now: Instant) -> bool:
        return now - self.last_sent < SESSION_ACTIVE_TIMEOUT

    def trusted(self, now: Instant) -> bool:
        return isinstance(self.path, Direct) and now < self.path.trusted_until

    @property
    def endpoint(self) -> Endpoint | None:
        """In use, trusted or not."""
        return self.path.proven.endpoint if isinstance(self.path, Direct) else None

    def next_timeout(self) -> Instant | None:
        return min(self._timers.values(), default=None)

    # --- what the map says ---

    def region_changed(self, region: RegionId, now: Instant) -> list[PathAction]:
        self.region = region
        return self._steer(now)

    def map_endpoints(self, endpoints: Iterable[Endpoint], now: Instant) -> list[PathAction]:
        new = self.candidates.from_map(endpoints, now)
        if new:
            self._hope_again()
        return self._round(now) if new and self.active(now) and not self.trusted(now) else []

    # --- traffic ---

    def sent(self, now: Instant) -> list[PathAction]:
        """The tunnel sent for this peer."""
        was_active = self.active(now)
        self.last_sent = now
        if not was_active:
            self._hope_again()
        if Timer.HEARTBEAT not in self._timers:
            self._timers[Timer.HEARTBEAT] = Instant(now + HEARTBEAT_INTERVAL)
        if not self.trusted(now):
            return [*self._search(now), *self._steer(now)]
        return self._suspect(now) if now - self._heard_direct > SILENCE_IS_SUSPECT else []

    def received(self, by: Endpoint | None, now: Instant) -> None:
        """Authentic data came by that endpoint, or by a relay. It never moves the path: anybody may have captured
        and repeated the packet."""
        self.last_received = now
        if by is not None and by == self.endpoint:
            self._heard_direct = now
            self._timers[Timer.SILENCE] = Instant(now + SILENCE_IS_SUSPECT)

    # --- disco ---

    def called(self, endpoints: Iterable[Endpoint], now: Instant) -> list[PathAction]:
        """The peer's call-me-maybe: it has just opened its NAT towards us, so ask everywhere at once. Not answered
        with one of ours: two sides would call each other for ever."""
        if self.candidates.from_call_me_maybe(endpoints, now):
            self._hope_again()
        return self._begin_rounds(now) if self._may_hurry(now) else self._ask_all(now)

    def pinged(self, endpoint: Endpoint, now: Instant) -> list[PathAction]:
        """The peer's ping came from there. Its NAT is open for our answer now, and for a ping of ours."""
        new = self.candidates.from_ping(endpoint, now)
        candidate = self.candidates.get(endpoint)
        if candidate is None or (self.trusted(now) and not new):
            return []
        if candidate.last_ping is not None and now - candidate.last_ping < REACTIVE_PING_GAP:
            return []
        return self._probe(endpoint, Purpose.DISCOVERY, now)

    def ponged(self, proven: Proven, now: Instant) -> list[PathAction]:
        """A ping of ours to that endpoint was answered."""
        if (candidate := self.candidates.get(proven.endpoint)) is not None:
            candidate.last_pong = now
        self._budget.answered(proven.endpoint)
        if isinstance(self.path, Direct) and self.path.proven.endpoint != proven.endpoint:
            if self.trusted(now) and not better(proven, self.path.proven):
                return []
            self._heard_direct = NEVER
        self._hope_again()
        self.path = Direct(proven, trusted_until=Instant(now + TRUST_UDP_ADDR_DURATION))
        self._timers[Timer.TRUST_ENDS] = self.path.trusted_until
        self._timers.pop(Timer.NEXT_ROUND, None)
        self._timers.pop(Timer.PONG_DUE, None)
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

    def moved(self, now: Instant) -> list[PathAction]:
        """Our own sockets or addresses are others now: nothing is proven any more."""
        self._forget_search()
        return self._lose(now)

    def restarted(self, now: Instant) -> list[PathAction]:
        """The peer's process is another one. Most likely it is where it was, so that way stays in use beside the relay
        until the new process has answered there or failed to."""
        self._forget_search()
        return self._distrust(now)

    def _forget_search(self) -> None:
        self.candidates.forget_history()
        self._burst_began = self._last_invite = NEVER
        self._hope_again()

    # --- time ---

    def tick(self, now: Instant) -> list[PathAction]:
        actions: list[PathAction] = []
        for timer in [timer for timer, at in self._timers.items() if at <= now]:
            if self._timers.get(timer, now + 1) <= now:  # an earlier one may have stopped it
                del self._timers[timer]
                actions += self._due(timer, now)
        return actions

    def _due(self, timer: Timer, now: Instant) -> list[PathAction]:
        match timer:
            case Timer.HEARTBEAT:
                return self._heartbeat(now)
            case Timer.NEXT_ROUND:
                return self._next_of_burst(now)
            case Timer.SILENCE:
                return self._suspect(now) if now - self.last_sent < SILENCE_IS_SUSPECT else []
            case Timer.TRUST_ENDS | Timer.PONG_DUE:
                return self._distrust(now)

    def _heartbeat(self, now: Instant) -> list[PathAction]:
        if not self.active(now):
            return []
        actions: list[PathAction] = []
        if isinstance(self.path, Direct):
            actions += self._probe(self.path.proven.endpoint, Purpose.HEARTBEAT, now)
        if self._wants_full_round(now):
            actions += self._round(now)
        lost_one = not self.trusted(now) and any(c.proven_lately(now) for _, c in self.candidates.items())
        self._timers[Timer.HEARTBEAT] = Instant(now + (PROVEN_ENDPOINT_INTERVAL if lost_one else HEARTBEAT_INTERVAL))
        return actions

    def _wants_full_round(self, now: Instant) -> bool:
        if not isinstance(self.path, Direct) or not self.trusted(now):
            return True
        slow = self.path.proven.latency > GOOD_ENOUGH_LATENCY
        return slow and now - self._last_full_round >= UPGRADE_UDP_DIRECT_INTERVAL

    def _suspect(self, now: Instant) -> list[PathAction]:
        """We send and the peer, heard until now, is silent: ask, and don't wait long for the answer."""
        if not isinstance(self.path, Direct) or not self.trusted(now):
            return []
        if now - self._heard_direct > SILENCE_WAS_FLOW or Timer.PONG_DUE in self._timers:
            return []
        asked = self._probe(self.path.proven.endpoint, Purpose.HEARTBEAT, now)
        if asked:
            due = max(PONG_DUE_MIN, PONG_DUE_FACTOR * self.path.proven.latency)
            self._timers[Timer.PONG_DUE] = Instant(now + due)
        return asked

    def _distrust(self, now: Instant) -> list[PathAction]:
        """The endpoint stays in use, and the relay with it."""
        if isinstance(self.path, Direct):
            self.path = Direct(self.path.proven, min(self.path.trusted_until, now))
        self._timers.pop(Timer.TRUST_ENDS, None)
        self._timers.pop(Timer.PONG_DUE, None)
        return [*self._steer(now), *(self._search(now) if self.active(now) else [])]

    def _lose(self, now: Instant) -> list[PathAction]:
        self.path = Relayed()
        self._timers.pop(Timer.TRUST_ENDS, None)
        self._timers.pop(Timer.PONG_DUE, None)
        return [*self._steer(now), *(self._search(now) if self.active(now) else [])]

    # --- discovery rounds ---

    def _search(self, now: Instant) -> list[PathAction]:
        """Start the quick rounds, unless they were just run."""
        return self._begin_rounds(now, invite=True) if self._may_hurry(now) else []

    def _may_hurry(self, now: Instant) -> bool:
        return not self.trusted(now) and now - self._burst_began >= self._burst_gap

    def _hope_again(self) -> None:
        """Something is new, so the next quick rounds need not wait long."""
        self._burst_gap = FIRST_ROUNDS_AGAIN

    def _begin_rounds(self, now: Instant, *, invite: bool = False) -> list[PathAction]:
        if now - self._burst_began < FIRST_ROUNDS_AGAIN_MAX:
            self._burst_gap = min(FIRST_ROUNDS_AGAIN_MAX, 2 * self._burst_gap)
        self._burst_began = now
        self._rounds_done = 0
        return [*self._next_of_burst(now), *(self._invite(now) if invite else [])]

    def _next_of_burst(self, now: Instant) -> list[PathAction]:
        if self.trusted(now):
            return []
        self._rounds_done += 1
        if self._rounds_done < len(FIRST_ROUNDS):
            self._timers[Timer.NEXT_ROUND] = Instant(self._burst_began + FIRST_ROUNDS[self._rounds_done])
        return self._ask_all(now)

    def _round(self, now: Instant) -> list[PathAction]:
        """A round at the ordinary pace, with a call-me-maybe."""
        self._last_full_round = now
        self.candidates.expire(now)
        actions: list[PathAction] = []
        for endpoint, candidate in self.candidates.items():
            gap = PROVEN_ENDPOINT_INTERVAL if candidate.proven_lately(now) else DISCO_PING_INTERVAL
            if candidate.last_ping is None or now - candidate.last_ping >= gap:
                actions += self._probe(endpoint, Purpose.DISCOVERY, now)
        return [*actions, *self._invite(now)]

    def _ask_all(self, now: Instant) -> list[PathAction]:
        """Every candidate, whenever it was last asked; the budget alone says no."""
        self._last_full_round = now
        self.candidates.expire(now)
        return [probe for endpoint in list(self.candidates) for probe in self._probe(endpoint, Purpose.DISCOVERY, now)]

    def may_probe(self, endpoint: Endpoint, now: Instant) -> bool:
        """Whether a ping that somebody asked for may go there; if so it is counted."""
        if not self._budget.spend(endpoint, now):
            return False
        if (candidate := self.candidates.get(endpoint)) is not None:
            candidate.last_ping = now
        return True

    def _probe(self, endpoint: Endpoint, purpose: Purpose, now: Instant) -> list[PathAction]:
        return [Probe(endpoint, purpose)] if self.may_probe(endpoint, now) else []

    def _invite(self, now: Instant) -> list[PathAction]:
        """A peer without a known candidate is invited too: it may be the only one who can begin."""
        if now - self._last_invite < DISCO_PING_INTERVAL:
            return []
        self._last_invite = now
        return [Invite()]

    def _steer(self, now: Instant) -> list[PathAction]:
        target = (self.endpoint, RegionId(0) if self.trusted(now) else self.region)
        if target == self._steered:
            return []
        self._steered = target
        return [Steer(self.peer, *target)]
