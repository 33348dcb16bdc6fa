"""One peer's path: relayed until a pong proves a direct endpoint, both ways at once when trust in it ends.

Room: core. Inputs return `Probe`, `Invite` and `Steer`; the mesh seals and sends (mesh.py). The state is in
path_core.py, the search in rounds.py, what speaks against a path that answers pings in path_doubts.py.
Model: tailscale: wgengine/magicsock/endpoint.go. Its timeline is drawn in constants.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from ginnel.core.node.constants import (
    CALL_BACK_GAP,
    CALL_ME_MAYBE_IS_NEWS,
    FULL_SIZE,
    GOOD_ENOUGH_LATENCY,
    HEARTBEAT_INTERVAL,
    PROVEN_ENDPOINT_INTERVAL,
    REACTIVE_PING_GAP,
    SEARCH_INTERVAL,
    SILENCE_IS_SUSPECT,
    UPGRADE_UDP_DIRECT_INTERVAL,
)
from ginnel.core.node.path_actions import NEVER, PathAction, Purpose
from ginnel.core.node.path_doubts import PathDoubts
from ginnel.core.node.path_policy import PathPolicy
from ginnel.core.node.path_state import Direct, Relayed, Timer
from ginnel.core.node.scoring import Proven, better
from ginnel.core.node.shunned import Fault
from ginnel.words import Endpoint, Instant, RegionId


class PathChooser(PathDoubts):
    """See the module. All inputs return what follows from them."""

    # --- what the map and the user say ---

    def region_changed(self, region: RegionId, now: Instant) -> list[PathAction]:
        self.region = region
        return self._steer(now)

    def map_endpoints(self, endpoints: Iterable[Endpoint], now: Instant) -> list[PathAction]:
        new = self.candidates.from_map(endpoints, now)
        if new:
            self._rounds.hope_again()
        return self._rounds.at_ordinary_pace(now) if new and self.active(now) and not self.trusted(now) else []

    def policy_changed(self, policy: PathPolicy, now: Instant) -> list[PathAction]:
        if policy is self.policy:
            return []
        self.policy = policy
        self._rounds.silent = policy is PathPolicy.RELAY
        if policy is PathPolicy.DIRECT:  # there is nothing better that a bad way could be left for
            self.shunned.clear()
            self._data.trial, self._data.accused = None, False
        if policy is not PathPolicy.RELAY:
            return self._steer(now) if self.trusted(now) else self._without_trust(now)
        self.path = Relayed()
        self._timers.clear()
        self._rounds.stop()
        self.searching_since = None
        return self._steer(now)

    # --- traffic ---

    def sent(self, now: Instant) -> list[PathAction]:
        """The tunnel sent for this peer."""
        was_active = self.active(now)
        self.last_sent = now
        if (waiting_since := self._data.sent(now)) is not None:
            self._timers[Timer.SILENCE] = Instant(waiting_since + SILENCE_IS_SUSPECT)
        if not was_active:
            self._rounds.begin_anew()
        if self.policy is PathPolicy.RELAY:
            return self._steer(now)
        if Timer.HEARTBEAT not in self._timers:
            self._timers[Timer.HEARTBEAT] = Instant(now + self._pace(now))
        if not self.trusted(now):
            return [*self._search(now), *self._steer(now)]
        return self._keepalive_late(now) or self._suspect(now)

    def received(self, by: Endpoint | None, now: Instant) -> list[PathAction]:
        """Authentic data came by that endpoint, or by a relay. It never moves the path: anybody may have captured
        and repeated the packet."""
        self.last_received = now
        if by is None:
            guilty = self._data.heard_by_relay(now) and self.trusted(now) and self._has_relay()
            self._misses_us(now)
            return self._convict(Fault.DATA, now) if guilty else self.contacted(now)
        if by == self.endpoint:
            self._data.heard_here(now)
            self._missed_at = NEVER
            self._timers.pop(Timer.SILENCE, None)
        else:
            self._data.heard_elsewhere(now)
        self._time_trial()
        self._timers.pop(Timer.QUESTION, None)
        return self._steer(now)

    def contacted(self, now: Instant) -> list[PathAction]:
        """The peer speaks to us by a relay. Whatever it wants, a direct path will serve it better."""
        return self._search(now)

    # --- disco ---

    def called(self, endpoints: Iterable[Endpoint], now: Instant) -> list[PathAction]:
        """The peer's call-me-maybe: it has just opened its NAT towards us, so ask everywhere at once. Not answered
        with one of ours: two sides would call each other for ever. Who calls has no path to us, or has lost it, so
        one of ours that was not proven just now must answer quickly."""
        named = tuple(endpoints)
        if self.candidates.from_call_me_maybe(named, now):
            self._rounds.hope_again()
        if self.endpoint not in named:
            self._misses_us(now)
        if isinstance(self.path, Direct) and self.trusted(now) and now - self.path.proven_at > CALL_ME_MAYBE_IS_NEWS:
            self._await_pong(self.path.proven.latency, now)
            if self.socket or self.candidates.get(self.path.proven.endpoint) is None:
                return [*self._rounds.ask_all(now), *self._ask_path(now)]
        return self._rounds.begin(now) if self._may_hurry(now) else self._rounds.ask_all(now)

    def missed(self, now: Instant) -> list[PathAction]:
        """The peer says otherwise that it has no path to us, or it answers elsewhere as well, as one does that moved or
        that its NAT maps anew: ours must answer quickly, or it is lost as well."""
        if not isinstance(self.path, Direct) or not self.trusted(now):
            return []
        if now - self.path.proven_at <= CALL_ME_MAYBE_IS_NEWS or Timer.PONG_DUE in self._timers:
            return []
        self._await_pong(self.path.proven.latency, now)
        return self._ask_path(now)

    def pinged(self, endpoint: Endpoint, now: Instant, *, socket: int = 0) -> list[PathAction]:
        """The peer's ping came from there. Its NAT is open for our answer now, and for a ping of ours: from the socket
        that it came to. What an auxiliary socket hears is no candidate for the others."""
        self._last_pinged = now
        if socket:
            return [] if self.trusted(now) else self._rounds.ask_back(endpoint, socket, now)
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
        """A ping of ours to that endpoint was answered. A better way than a trusted one must carry large packets
        too."""
        if self.deaf_to(proven.endpoint, now):
            return []
        self._rounds.answered(proven, now)
        if isinstance(self.path, Direct) and self.path.proven.way == proven.way:
            return self._answered(self.path, proven, now)
        if isinstance(self.path, Direct) and self.trusted(now):
            if self._left_for(proven, now):
                return self._use(proven, now, now)
            if not better(proven, self.path.proven):
                return self.missed(now)
            if not proven.full_size:
                way = {"socket": proven.socket, "size": FULL_SIZE}
                return self._rounds.probe(proven.endpoint, Purpose.DISCOVERY, now, **way)
        return self._use(proven, now, now)

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
        self.history.refused(endpoint, now)
        return self._distrust(now) if endpoint == self.endpoint and self.trusted(now) else []

    def too_large(self, endpoint: Endpoint, now: Instant) -> list[PathAction]:
        """The kernel refused a packet to there for its size."""
        if endpoint != self.endpoint or not self.trusted(now) or self._size.running:
            return []
        self._size.begin(small_answered=False)
        return [*self._ask_path(now), *self._ask_size(now)]

    def moved(self, now: Instant) -> list[PathAction]:
        """Our own sockets or addresses are others now: nothing is proven any more. The peer may well hear us where it
        is, so that way stays in use beside the relay until it fails to answer."""
        self._rounds.forget()
        self._data.ends_changed(now)
        return self._distrust(now)

    def restarted(self, now: Instant) -> list[PathAction]:
        """The peer's process is another one. Most likely it is where it was, so that way stays in use beside the relay
        until the new process has answered there or failed to."""
        self._rounds.forget()
        self._data.ends_changed(now)
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
                return self._suspect(now)
            case Timer.TRUST_ENDS | Timer.PONG_DUE:
                return self._distrust(now)
            case Timer.CALL_BACK:
                return self._call_back(now)
            case Timer.SIZE_PONG_DUE:
                return self._size_pong_late(now)
            case Timer.TRIAL_ENDS:
                return self._trial_over(now)
            case Timer.QUESTION:
                return self._keepalive_late(now)
            case Timer.SIDE_ENDS:
                return [] if self.trusted(now) or self.active(now) else self._lose(now)

    def _heartbeat(self, now: Instant) -> list[PathAction]:
        if not self.active(now):
            self.searching_since = None
            return []
        actions = self._ask_path(now)
        if self.trusted(now) and self._size.due_again(now):
            self._size.begin(small_answered=False)
            actions += self._ask_size(now)
        if self._wants_full_round(now):
            actions += self._rounds.at_ordinary_pace(now)
        self._timers[Timer.HEARTBEAT] = Instant(now + self._pace(now))
        return actions

    def _pace(self, now: Instant) -> float:
        if self.trusted(now):
            return HEARTBEAT_INTERVAL
        lost_one = any(candidate.proven_lately(now) for _, candidate in self.candidates.items())
        return PROVEN_ENDPOINT_INTERVAL if lost_one else SEARCH_INTERVAL

    def _wants_full_round(self, now: Instant) -> bool:
        if not isinstance(self.path, Direct) or not self.trusted(now):
            return True
        slow = self.path.proven.latency > GOOD_ENOUGH_LATENCY
        return slow and now - self._rounds.last_full >= UPGRADE_UDP_DIRECT_INTERVAL

    def _call_back(self, now: Instant) -> list[PathAction]:
        """The path was proven a moment ago. A peer that knows it too has pinged us meanwhile; one that has not may wait
        for seconds with its next round (official ones do) unless it is called."""
        if not self.trusted(now) or self.known_to_peer(now):
            return []
        if now < (due := Instant(self._rounds.last_invite + CALL_BACK_GAP)):
            self._timers[Timer.CALL_BACK] = due
            return []
        return self._rounds.invite(now, gap=0.0)  # the difference may be rounded to less than the gap
