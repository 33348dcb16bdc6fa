"""What one peer's path is made of: its state, how it is steered, how a way is taken into use, doubted and lost.

Room: core. Inputs are in paths.py; what speaks against a way that answers pings is in path_doubts.py.
"""

from __future__ import annotations

import dataclasses

from ginnel.core.node.actions import NEVER_BY_RELAY, NEVER_BY_UDP, Steer
from ginnel.core.node.candidates import Candidates
from ginnel.core.node.constants import (
    CALL_BACK_AFTER,
    FULL_SIZE,
    HEARTBEAT_INTERVAL,
    PEER_KNOWS,
    PONG_DUE_FACTOR,
    PONG_DUE_MIN,
    PROVEN_ENDPOINT_INTERVAL,
    SESSION_ACTIVE_TIMEOUT,
    SIDE_KEPT_IDLE,
    SIZE_PONG_DUE_MIN,
    TRUST_UDP_ADDR_DURATION,
)
from ginnel.core.node.data_watch import DataWatch
from ginnel.core.node.path_actions import NEVER, LookAround, PathAction, Purpose
from ginnel.core.node.path_history import PathHistory
from ginnel.core.node.path_policy import PathPolicy
from ginnel.core.node.path_state import Direct, Relayed, Timer
from ginnel.core.node.probe_budget import ProbeBudget
from ginnel.core.node.rounds import Rounds
from ginnel.core.node.scoring import Proven
from ginnel.core.node.shunned import Shunned
from ginnel.core.node.size_check import SizeCheck
from ginnel.words import Endpoint, Instant, NodeKey, RegionId

OF_TRUST = (
    Timer.TRUST_ENDS,
    Timer.PONG_DUE,
    Timer.CALL_BACK,
    Timer.SIZE_PONG_DUE,
    Timer.TRIAL_ENDS,
    Timer.QUESTION,
)
"""What is waited for only while a way is trusted."""


class PathCore:
    """`region`: the relay region by which the peer is reached; 0: none."""

    def __init__(self, peer: NodeKey, budget: ProbeBudget, policy: PathPolicy = PathPolicy.AUTO) -> None:
        self.peer = peer
        self.policy = policy
        self.region = RegionId(0)
        self.path: Relayed | Direct = Relayed()
        self.last_sent = NEVER
        self.last_received = NEVER
        self.history = PathHistory()
        self.searching_since: Instant | None = None
        """Since when a direct path has been wanted and not found. None: there is one, or nobody wants it. Whoever knows
        other ways than asking the candidates may begin some seconds later; what it finds goes into `ponged`."""
        self._rounds = Rounds(budget)
        self._rounds.silent = policy is PathPolicy.RELAY
        self._data = DataWatch()
        self._size = SizeCheck()
        self._last_pinged = NEVER
        self._missed_at = NEVER
        self._timers: dict[Timer, Instant] = {}
        self._steered: tuple[Endpoint | None, RegionId, int] | None = None

    # --- views ---

    @property
    def candidates(self) -> Candidates:
        return self._rounds.candidates

    @property
    def shunned(self) -> Shunned:
        return self._rounds.shunned

    def active(self, now: Instant) -> bool:
        return now - self.last_sent < SESSION_ACTIVE_TIMEOUT

    def trusted(self, now: Instant) -> bool:
        """Whether the direct way answers disco; the relay may be in use beside it all the same."""
        return isinstance(self.path, Direct) and now < self.path.trusted_until

    def direct(self, now: Instant) -> bool:
        """What people call direct. A way that has failed before must first show that it carries data."""
        return self.trusted(now) and not self._data.accused

    @property
    def endpoint(self) -> Endpoint | None:
        """In use, trusted or not."""
        return self.path.proven.endpoint if isinstance(self.path, Direct) else None

    @property
    def socket(self) -> int:
        """That reaches the endpoint in use; 0: the tunnel's own."""
        return self.path.proven.socket if isinstance(self.path, Direct) else 0

    @property
    def relay_in_use(self) -> RegionId:
        """By which data goes, alone or as well; 0: by none."""
        region = self._steered[1] if self._steered is not None else NEVER_BY_RELAY
        return RegionId(0) if region == NEVER_BY_RELAY else region

    def known_to_peer(self, now: Instant) -> bool:
        """Whether we have a path and the peer probably knows it: it has pinged us lately."""
        return self.trusted(now) and now - self._last_pinged < PEER_KNOWS

    def deaf_to(self, endpoint: Endpoint, now: Instant) -> str | None:
        """Why a ping from there gets no answer: the peer would take it for a way that carries data. None: it gets
        one."""
        if self.policy is PathPolicy.RELAY:
            return "disco.path_policy"
        return "disco.shunned" if self.shunned.now(endpoint, now) else None

    def next_timeout(self) -> Instant | None:
        return min(self._planned().values(), default=None)

    def _planned(self) -> dict[Timer, Instant]:
        if self._rounds.next_at is None:
            return self._timers
        return self._timers | {Timer.NEXT_ROUND: self._rounds.next_at}

    # --- a way is found ---

    def _use(self, proven: Proven, proven_at: Instant, now: Instant) -> list[PathAction]:
        other = not isinstance(self.path, Direct) or self.path.proven.way != proven.way
        if not self.trusted(now):
            self._timers[Timer.CALL_BACK] = Instant(now + CALL_BACK_AFTER)
            if Timer.HEARTBEAT in self._timers:
                self._timers[Timer.HEARTBEAT] = Instant(now + HEARTBEAT_INTERVAL)
        self.path = Direct(proven, proven_at)
        self._timers[Timer.TRUST_ENDS] = self.path.trusted_until
        self._timers.pop(Timer.PONG_DUE, None)
        self._timers.pop(Timer.SIDE_ENDS, None)
        self.searching_since = None
        self._rounds.stop()
        return [*(self._begin_to_watch(proven, now) if other else []), *self._steer(now)]

    def _begin_to_watch(self, proven: Proven, now: Instant) -> list[PathAction]:
        self._data.used(now, accused=self.shunned.lately(proven.endpoint, now))
        self._time_trial()
        self._size.forget()
        self._timers.pop(Timer.SIZE_PONG_DUE, None)
        if proven.full_size:
            self._size_passed(now)
            return []
        self._size.begin(small_answered=True)
        return self._ask_size(now)

    # --- it is watched ---

    def _await_pong(self, latency: float, now: Instant) -> None:
        self._timers.setdefault(Timer.PONG_DUE, Instant(now + max(PONG_DUE_MIN, PONG_DUE_FACTOR * latency)))

    def _time_trial(self) -> None:
        self._timers.pop(Timer.TRIAL_ENDS, None)
        if self._data.trial is not None:
            self._timers[Timer.TRIAL_ENDS] = self._data.trial.ends

    def _size_passed(self, now: Instant) -> None:
        self._size.passed(now)
        self._timers.pop(Timer.SIZE_PONG_DUE, None)

    def _ask_size(self, now: Instant) -> list[PathAction]:
        latency = self.path.proven.latency if isinstance(self.path, Direct) else 0.0
        self._timers[Timer.SIZE_PONG_DUE] = Instant(now + max(SIZE_PONG_DUE_MIN, PONG_DUE_FACTOR * latency))
        return self._ask_path(now, size=FULL_SIZE)

    # --- losses ---

    def _distrust(self, now: Instant) -> list[PathAction]:
        """The endpoint stays in use, and the relay with it, unless another one has answered since."""
        if isinstance(self.path, Direct):
            other = self.candidates.best_since(max(self.path.proven_at, Instant(now - TRUST_UDP_ADDR_DURATION)))
            self.path = dataclasses.replace(self.path, doubted=True)
            if other is not None:
                return self._use(*other, now)
        return self._without_trust(now)

    def _lose(self, now: Instant) -> list[PathAction]:
        self.path = Relayed()
        return self._without_trust(now)

    def _without_trust(self, now: Instant) -> list[PathAction]:
        self._data.trial = None
        self._size.stop()
        for timer in OF_TRUST:
            self._timers.pop(timer, None)
        if not self.active(now):
            if self.socket:
                self._timers[Timer.SIDE_ENDS] = Instant(now + SIDE_KEPT_IDLE)
            return self._steer(now)
        self.searching_since = self.searching_since or now
        self._timers[Timer.HEARTBEAT] = Instant(now + PROVEN_ENDPOINT_INTERVAL)
        return [*self._steer(now), LookAround(), *self._rounds.anew(now)]

    # --- what follows ---

    def _has_relay(self) -> bool:
        """A way that is better than a bad direct one."""
        return self.region != 0 and self.policy is PathPolicy.AUTO

    def _ask_path(self, now: Instant, *, size: int = 0) -> list[PathAction]:
        """Ping by the way in use."""
        if not isinstance(self.path, Direct):
            return []
        endpoint, socket = self.path.proven.way
        return self._rounds.probe(endpoint, Purpose.HEARTBEAT, now, socket=socket, size=size)

    def _search(self, now: Instant) -> list[PathAction]:
        """Start the quick rounds, unless they were just run."""
        if self.trusted(now):
            return []
        if self.searching_since is None and self.active(now):
            self.searching_since = now
        return self._rounds.begin(now, invite=True) if self._may_hurry(now) else []

    def _may_hurry(self, now: Instant) -> bool:
        return not self.trusted(now) and not self._rounds.silent and self._rounds.may_hurry(now)

    def _relay_too(self, now: Instant) -> bool:
        """Until the way has shown that it carries large packets; while it is on trial, or not trusted."""
        return not self.trusted(now) or self._data.trial is not None or not self._size.certain()

    def _steer(self, now: Instant) -> list[PathAction]:
        region = self.region if self._relay_too(now) else RegionId(0)
        target = (
            self.endpoint,
            NEVER_BY_RELAY if self.policy is PathPolicy.DIRECT else region,
            NEVER_BY_UDP if self.policy is PathPolicy.RELAY else self.socket,
        )
        if target == self._steered:
            return []
        self._steered = target
        return [Steer(self.peer, *target)]
