"""What speaks against a direct way though it answers pings: silence, data that comes by the relay, large packets lost.

Room: core. The evidence is weighed in data_watch.py and size_check.py.
"""

from __future__ import annotations

import dataclasses

from ginnel.core.node.constants import PEER_MISSES_US
from ginnel.core.node.path_actions import PathAction, Question
from ginnel.core.node.path_core import PathCore
from ginnel.core.node.path_state import Direct, Timer
from ginnel.core.node.scoring import Proven
from ginnel.core.node.shunned import Fault
from ginnel.core.node.size_check import Outcome
from ginnel.words import Instant


class PathDoubts(PathCore):
    """Between PathCore and the inputs of PathChooser."""

    def _answered(self, path: Direct, proven: Proven, now: Instant) -> list[PathAction]:
        """The way in use."""
        if proven.full_size:
            self._size_passed(now)
        else:
            self._size.small_answered()
        if self._has_relay() and self._data.answered(now):
            self._time_trial()
        return self._use(dataclasses.replace(proven, wire_mtu=max(proven.wire_mtu, path.proven.wire_mtu)), now, now)

    def _suspect(self, now: Instant) -> list[PathAction]:
        """We send and the peer, heard until now, is silent: ask, and don't wait long for the answer."""
        if not isinstance(self.path, Direct) or not self.trusted(now):
            return []
        if Timer.PONG_DUE in self._timers or not self._data.suspicious(now):
            return []
        asked = self._ask_path(now)
        if not asked:
            return []
        self._data.asked(now)
        self._await_pong(self.path.proven.latency, now)
        if self._size.running:
            return asked
        self._size.begin(small_answered=False)
        return [*asked, *self._ask_size(now)]

    def _keepalive_late(self, now: Instant) -> list[PathAction]:
        """Whoever received what we sent would have spoken by now, if only by a keepalive. That may be lost, so the peer
        is asked by a packet that it answers at once; silence then is the proof. The ping beside it shows the peer where
        we are, should our NAT have mapped us anew: else its answers go astray. If that is silent too, nothing passes
        there any more, and nobody is to blame for data alone."""
        self._timers.pop(Timer.QUESTION, None)
        if not isinstance(self.path, Direct) or not self.trusted(now) or not self._has_relay():
            return []
        latency = self.path.proven.latency
        if self._data.silent_when_asked(now, latency):
            pings_pass = self.path.proven_at >= self._data.questioned_since
            return self._convict(Fault.DATA, now) if pings_pass else self._lose(now)
        if not self._data.late(now):
            return []
        self._timers[Timer.QUESTION] = Instant(now + self._data.question_gap(latency))
        if not self._data.question_due(now, latency):
            return []
        self._data.questioned(now)
        return [*self._ask_path(now), Question()]

    def _misses_us(self, now: Instant) -> None:
        """The peer behaves as one that has no path to us. If that is so, what it names and answers at first is it."""
        if self._data.trial is None and self._size.certain():
            self._missed_at = now

    def _left_for(self, proven: Proven, now: Instant) -> bool:
        """Whether the peer has left the way in use, for that one probably."""
        if not isinstance(self.path, Direct) or now - self._missed_at > PEER_MISSES_US:
            return False
        candidate = self.candidates.get(proven.endpoint)
        named = candidate is not None and (candidate.called or candidate.in_map)
        return named and self.path.proven_at < self._missed_at

    def _trial_over(self, now: Instant) -> list[PathAction]:
        if self._data.trial_over(now) and self._has_relay():
            return self._convict(Fault.DATA, now)
        self._time_trial()
        return self._steer(now)

    def _size_pong_late(self, now: Instant) -> list[PathAction]:
        match self._size.pair_over():
            case Outcome.ASK_AGAIN:
                return [*self._ask_path(now), *self._ask_size(now), *self._steer(now)]
            case Outcome.TOO_LARGE if self._has_relay():
                return self._convict(Fault.SIZE, now)
            case _:
                return []

    def _convict(self, fault: Fault, now: Instant) -> list[PathAction]:
        """The way answers pings and yet does not carry what it should: it is not used for a while."""
        if isinstance(self.path, Direct):
            self.shunned.add(self.path.proven.endpoint, fault, now)
            self.history.convicted(self.path.proven.endpoint, fault, now)
            self.candidates.forget_history_of(self.path.proven.endpoint)
        return self._lose(now)
