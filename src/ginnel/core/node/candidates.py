"""Where one peer may be reachable: what the server, the peer and its pings have named.

Room: core.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ginnel.core.node.addresses import is_candidate
from ginnel.core.node.bucket import TokenBucket
from ginnel.core.node.constants import (
    CALL_ME_MAYBE_ENDPOINTS,
    CANDIDATES_PER_IP,
    CANDIDATES_PRUNED_AT,
    INBOUND_PING_CANDIDATE_LIFE,
    NEW_ENDPOINTS_BURST,
    NEW_ENDPOINTS_RATE,
    PROVEN_ENDPOINT_LIFE,
)
from ginnel.core.node.scoring import Proven, better
from ginnel.words import Endpoint, Instant


@dataclass(slots=True)
class Candidate:
    """One endpoint: who named it, and how it behaved."""

    in_map: bool = False
    called: bool = False  # named by the latest call-me-maybe
    pinged_us: Instant | None = None
    last_ping: Instant | None = None
    asked: int = 0  # since it last answered
    last_pong: Instant | None = None
    proven: Proven | None = None  # by the last pong

    def stale(self, now: Instant) -> bool:
        """Nobody names it any more."""
        heard = self.pinged_us is not None and now - self.pinged_us < INBOUND_PING_CANDIDATE_LIFE
        return not (self.in_map or self.called or heard)

    @property
    def hearsay(self) -> bool:
        """Nothing but a ping's source, which can be forged, has named it, and it never answered."""
        return not (self.in_map or self.called) and self.last_pong is None

    def forget_history(self) -> None:
        self.last_ping = self.last_pong = self.proven = None
        self.asked = 0

    def proven_lately(self, now: Instant) -> bool:
        return self.last_pong is not None and now - self.last_pong < PROVEN_ENDPOINT_LIFE


class Candidates:
    """Bounded: over CANDIDATES_PRUNED_AT the stale go first, then those that never answered and only pinged us."""

    def __init__(self) -> None:
        self._held: dict[Endpoint, Candidate] = {}
        self._may_call_new = TokenBucket(NEW_ENDPOINTS_BURST, NEW_ENDPOINTS_RATE)

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def items(self) -> list[tuple[Endpoint, Candidate]]:
        return list(self._held.items())

    def get(self, endpoint: Endpoint) -> Candidate | None:
        return self._held.get(endpoint)

    def from_map(self, endpoints: Iterable[Endpoint], now: Instant) -> bool:
        """The server's list, in place of its list before. True when an endpoint is new."""
        listed = bounded(endpoints, CANDIDATES_PRUNED_AT // 2)
        for candidate in self._held.values():
            candidate.in_map = False
        new = [endpoint for endpoint in listed if endpoint not in self._held]
        for endpoint in listed:
            self._of(endpoint).in_map = True
        self.expire(now)
        return bool(new)

    def from_call_me_maybe(self, endpoints: Iterable[Endpoint], now: Instant) -> bool:
        """The peer's own list, in place of its list before. True when an endpoint is new. Another list in each call
        would make us scan a network: so many new endpoints at once and in a second count, the others are left out."""
        listed = bounded(endpoints, CALL_ME_MAYBE_ENDPOINTS)
        new = [endpoint for endpoint in listed if endpoint not in self._held][: self._may_call_new.left(now)]
        self._may_call_new.take(now, len(new))
        listed = [endpoint for endpoint in listed if endpoint in self._held or endpoint in new]
        for candidate in self._held.values():
            candidate.called = False
        for endpoint in listed:
            self._of(endpoint).called = True
        self.expire(now)
        return bool(new)

    def from_ping(self, endpoint: Endpoint, now: Instant) -> bool:
        """An authentic ping came from there. True when the endpoint is new."""
        new = endpoint not in self._held
        self._of(endpoint).pinged_us = now
        self.expire(now)
        return new

    def expire(self, now: Instant) -> None:
        """Forget what nobody names; at the limit also the oldest that only pinged us."""
        stale = [endpoint for endpoint, candidate in self._held.items() if candidate.stale(now)]
        for endpoint in stale:
            if not self._held[endpoint].proven_lately(now) or len(self._held) > CANDIDATES_PRUNED_AT:
                del self._held[endpoint]
        if (excess := len(self._held) - CANDIDATES_PRUNED_AT) > 0:
            only_pinged = [e for e, c in self._held.items() if not c.in_map and not c.called]
            only_pinged.sort(key=lambda e: self._held[e].pinged_us or 0.0)
            for endpoint in only_pinged[:excess]:
                del self._held[endpoint]

    def forget_history(self) -> None:
        """We moved: what was tried and proven from the old place says nothing."""
        for candidate in self._held.values():
            candidate.forget_history()

    def forget_history_of(self, endpoint: Endpoint) -> None:
        """It answered, and is not to be counted on."""
        if (candidate := self._held.get(endpoint)) is not None:
            candidate.forget_history()

    def best_since(self, since: Instant) -> tuple[Proven, Instant] | None:
        """The best of those whose pong came after `since`, and when it came."""
        best: tuple[Proven, Instant] | None = None
        for candidate in self._held.values():
            proven, at = candidate.proven, candidate.last_pong
            if proven is not None and at is not None and at > since and better(proven, best[0] if best else None):
                best = (proven, at)
        return best

    def _of(self, endpoint: Endpoint) -> Candidate:
        return self._held.setdefault(endpoint, Candidate())


def bounded(endpoints: Iterable[Endpoint], limit: int) -> list[Endpoint]:
    """Those that may be probed, each once, few of one address: nobody makes us scan a host's ports."""
    of_ip: Counter[object] = Counter()
    taken: dict[Endpoint, None] = {}
    for endpoint in endpoints:
        if len(taken) == limit:
            break
        if endpoint not in taken and is_candidate(endpoint) and of_ip[endpoint.ip] < CANDIDATES_PER_IP:
            of_ip[endpoint.ip] += 1
            taken[endpoint] = None
    return list(taken)
