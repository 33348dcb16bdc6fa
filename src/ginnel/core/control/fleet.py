"""Which relays of the fleet stand in the map: probed before they enter, out when they fail, back when they answer.

Room: core, sans-IO. Results of probes go in with the time, actions come out. Entropy is an argument. The states
stand in fleet_states.py.

Fail static: where more than half of the relays that were looked at since the first failure fail together, and at least
two, it is this server's own network that is suspected, and nothing is taken out. The last relay is never taken out:
clients take an empty map for no news.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from ginnel.core.control.fleet_records import Kept
from ginnel.core.control.fleet_states import (
    Action,
    Announced,
    Drained,
    Draining,
    Failing,
    FleetRules,
    InMap,
    Moved,
    Out,
    Probe,
    Probing,
    State,
    Suspicion,
    kept,
)
from ginnel.words import Instant

PROBING_BACKOFF = (2.0, 4.0, 8.0)  # seconds to the next look at a relay that is not in the map yet; then `interval`
DRAINED_CHECK = 1.0  # seconds between two looks at a deadline
NEVER = Instant(float("-inf"))
CONFIRMED_BY = 8  # other relays that are looked at as soon as one fails


@dataclass(slots=True)
class _Tracked:
    state: State
    due: Instant | None
    busy: bool = False
    good: bool = True  # the latest result
    looked_at: Instant = NEVER
    why: str = ""
    watched: bool = True
    again: bool = False  # looked at anew as soon as the probe under way is done


@dataclass(slots=True)
class Fleet:
    """`entropy`: n -> n random bytes, for times that do not meet."""

    rules: FleetRules
    entropy: Callable[[int], bytes]
    suspected: bool = False
    _relays: dict[int, _Tracked] = field(default_factory=dict)

    # --- views -----------------------------------------------------------------------------------------------

    def state(self, relay: int) -> State:
        """One whose row was written a moment ago, and that is yet to be told of, is as one that just joined."""
        tracked = self._relays.get(relay)
        return tracked.state if tracked is not None else Probing()

    def why(self, relay: int) -> str:
        tracked = self._relays.get(relay)
        return tracked.why if tracked is not None else ""

    def in_map(self, relay: int) -> bool:
        tracked = self._relays.get(relay)
        return tracked is not None and isinstance(tracked.state, InMap | Failing | Draining)

    def draining(self, relay: int) -> bool:
        tracked = self._relays.get(relay)
        return tracked is not None and isinstance(tracked.state, Draining)

    # --- who is there ----------------------------------------------------------------------------------------

    def joined(self, relay: int, now: Instant) -> list[Action]:
        """A new relay."""
        self._relays[relay] = _Tracked(Probing(), now)
        return [Moved(relay, Probing()), *self.tick(now)]

    def restored(self, relay: int, was: Kept, now: Instant, until: Instant, *, watched: bool = True) -> None:
        """A relay that was there before a restart, in the map if it was: a start is no reason to move anybody.
        `watched`: whether it is probed."""
        states: dict[Kept, State] = {
            "joined": Probing(),
            "in": InMap(),
            "out": Out(),
            "draining": Draining(until),
            "drained": Drained(),
            "leaving": Draining(until, own=True),
            "left": Drained(own=True),
        }
        state = states[was]
        due = None if isinstance(state, Drained) or not watched else self._spread(now, self.rules.interval / 2)
        self._relays[relay] = _Tracked(state, due, watched=watched)

    def removed(self, relay: int) -> None:
        self._relays.pop(relay, None)

    def hint(self, relay: int, now: Instant) -> list[Action]:
        """Something happened to it, such as the end of its stream: look now."""
        tracked = self._relays.get(relay)
        if tracked is None or not tracked.watched or isinstance(tracked.state, Drained):
            return []
        if tracked.busy:
            tracked.again = True
            return []
        tracked.due = now
        return self.tick(now)

    # --- drain -----------------------------------------------------------------------------------------------

    def drain(self, relay: int, until: Instant, *, own: bool = False) -> list[Action]:
        """Out of use by `until`, sooner when its clients have left (`emptied`). `own`: the relay wishes it itself; an
        admin's word counts more, whichever came first."""
        tracked = self._relays.get(relay)
        if tracked is None:
            return []
        match tracked.state:
            case Draining(own=False) | Drained(own=False) if own:
                return []
            case InMap() | Failing() | Draining():
                return self._move(relay, tracked, Draining(until, own=own), "")
            case Drained():
                return self._move(relay, tracked, Drained(own), tracked.why)
            case Probing() | Announced() | Out():
                return self._finish_drain(relay, tracked, "it was not in the map", own=own)
        return []

    def undrain(self, relay: int, now: Instant, *, own: bool = False) -> list[Action]:
        """`own`: the relay takes back its own wish, and no more than that."""
        tracked = self._relays.get(relay)
        if tracked is None:
            return []
        match tracked.state:
            case Draining(own=False) | Drained(own=False) if own:
                return []
            case Draining():
                tracked.due = now if tracked.watched else None
                return [*self._move(relay, tracked, InMap(), ""), *self.tick(now)]
            case Drained() if not tracked.watched:
                return self._move(relay, tracked, InMap(), "")
            case Drained():
                tracked.due = now
                return [*self._move(relay, tracked, Probing(), ""), *self.tick(now)]
        return []

    def emptied(self, relay: int) -> list[Action]:
        """A relay says that no client is left."""
        tracked = self._relays.get(relay)
        if tracked is None or not isinstance(tracked.state, Draining):
            return []
        return self._finish_drain(relay, tracked, "no client is left", own=tracked.state.own)

    def _finish_drain(self, relay: int, tracked: _Tracked, why: str, *, own: bool) -> list[Action]:
        tracked.due = None
        return self._move(relay, tracked, Drained(own), why)

    # --- probes ----------------------------------------------------------------------------------------------

    def probed(self, relay: int, good: bool, why: str, now: Instant, ready: Instant = NEVER) -> list[Action]:
        """`why`: what is wrong, or "". `ready`: when the map may name it as it was seen."""
        tracked = self._relays.get(relay)
        if tracked is None or not tracked.busy:
            return []
        tracked.busy, tracked.good, tracked.looked_at = False, good, now
        actions = self._judge(relay, tracked, good, why, now, ready)
        if tracked.again and tracked.due is not None:
            tracked.due = now
        tracked.again = False
        return [*actions, *self._suspicion(), *self.tick(now)]

    def _judge(  # noqa: PLR0917
        self, relay: int, tracked: _Tracked, good: bool, why: str, now: Instant, ready: Instant
    ) -> list[Action]:
        rules = self.rules
        tracked.due = self._spread(now, rules.interval) if good else self._soon(now)
        match tracked.state:
            case Probing() | Announced() if good:
                return self._enter(relay, tracked, now, ready)
            case Announced():
                return self._move(relay, tracked, Probing(), why)
            case Probing(tries):
                backoff = PROBING_BACKOFF[tries] if tries < len(PROBING_BACKOFF) else rules.interval
                tracked.due = self._spread(now, backoff)
                return self._move(relay, tracked, Probing(tries + 1), why)
            case InMap() if good:
                return []
            case InMap():
                self._look_at_others(relay, now)
                return self._move(relay, tracked, Failing(now), why)
            case Failing() if good:
                return self._move(relay, tracked, InMap(), "")
            case Failing(since, failures):
                return self._failed_again(relay, tracked, replace(tracked.state, failures=failures + 1), why, since)
            case Out(seen) if good:
                if seen + 1 >= rules.recoveries:
                    return self._enter(relay, tracked, now, ready)
                tracked.due = self._soon(now)
                return self._move(relay, tracked, Out(seen + 1), "")
            case Out():
                tracked.due = self._spread(now, rules.interval)
                return self._move(relay, tracked, Out(), why)
            case Draining(until, failures, own):
                count = 0 if good else failures + 1
                if count >= rules.failures and not self._own_network_suspected(now - rules.interval):
                    return self._finish_drain(relay, tracked, why, own=own)
                tracked.state = Draining(until, count, own)
        return []

    def _enter(self, relay: int, tracked: _Tracked, now: Instant, ready: Instant) -> list[Action]:
        """Into the map, or looked at again when the map may name it."""
        if ready <= now:
            return self._move(relay, tracked, InMap(), "")
        tracked.due = ready if tracked.due is None else min(tracked.due, ready)
        return self._move(relay, tracked, Announced(ready), "")

    def _failed_again(self, relay: int, tracked: _Tracked, failing: Failing, why: str, since: Instant) -> list[Action]:
        if failing.failures < self.rules.failures or self._own_network_suspected(since) or self._is_last(relay):
            return self._move(relay, tracked, failing, why)
        tracked.due = self._spread(tracked.looked_at, self.rules.interval)
        return self._move(relay, tracked, Out(), why)

    def _move(self, relay: int, tracked: _Tracked, state: State, why: str) -> list[Action]:
        told = (_shown(state), why) != (_shown(tracked.state), tracked.why)
        tracked.state, tracked.why = state, why
        return [Moved(relay, state, why)] if told else []

    # --- the server's own network ----------------------------------------------------------------------------

    def _standing(self) -> Iterator[_Tracked]:
        """Those in the map that are looked at."""
        return (t for t in self._relays.values() if t.watched and isinstance(t.state, InMap | Failing | Draining))

    def _is_last(self, relay: int) -> bool:
        return not any(self.in_map(other) for other in self._relays if other != relay)

    def _own_network_suspected(self, since: float) -> bool:
        """Of those looked at since then, more than half fail, and at least two."""
        fresh = [tracked for tracked in self._standing() if tracked.looked_at >= since]
        failing = sum(not tracked.good for tracked in fresh)
        return failing >= 2 and failing * 2 > len(fresh)

    def _suspicion(self) -> list[Action]:
        since = min((t.state.since for t in self._standing() if isinstance(t.state, Failing)), default=None)
        holds = since is not None and self._own_network_suspected(since)
        if holds == self.suspected:
            return []
        self.suspected = holds
        failing = sum(not tracked.good for tracked in self._standing())
        total = sum(1 for _ in self._standing())
        return [Suspicion(holds, f"{failing} of {total} relays cannot be reached from here at once" if holds else "")]

    def _look_at_others(self, relay: int, now: Instant) -> None:
        """Whether it is that relay or this server is told by the others."""
        others = [t for r, t in self._relays.items() if r != relay and t.watched and not t.busy]
        others = [t for t in others if isinstance(t.state, InMap)]
        start = self.entropy(1)[0] % len(others) if others else 0
        for tracked in (others[start:] + others[:start])[:CONFIRMED_BY]:
            tracked.due = now

    # --- time ------------------------------------------------------------------------------------------------

    def next_timeout(self) -> Instant | None:
        times = [t.due for t in self._relays.values() if t.due is not None and not t.busy]
        times += [t.state.until for t in self._relays.values() if isinstance(t.state, Draining)]
        return min(times, default=None)

    def tick(self, now: Instant) -> list[Action]:
        actions: list[Action] = []
        for relay, tracked in self._relays.items():
            if isinstance(tracked.state, Draining) and now >= tracked.state.until:
                actions += self._finish_drain(relay, tracked, "the deadline has come", own=tracked.state.own)
            elif tracked.due is not None and now >= tracked.due and not tracked.busy:
                tracked.busy = True
                actions.append(Probe(relay))
        return actions

    def _soon(self, now: Instant) -> Instant:
        return Instant(now + self.rules.again)

    def _spread(self, now: Instant, seconds: float) -> Instant:
        """A fifth more or less, so that the probes of many relays do not go out together."""
        return Instant(now + seconds * (0.8 + 0.4 * self.entropy(1)[0] / 255))


def _shown(state: State) -> tuple[object, ...]:
    """What of a state is told and kept: not how often it was looked at."""
    return type(state), kept(state), state.until if isinstance(state, Draining) else None
