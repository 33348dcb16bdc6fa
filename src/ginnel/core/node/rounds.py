"""The search for one peer's direct path: rounds of pings to its candidates, quick at first, and call-me-maybes.

Room: core. Whether a search is wanted, and what a pong means, is decided in paths.py.
"""

from __future__ import annotations

from ginnel.core.node.bucket import TokenBucket
from ginnel.core.node.candidates import Candidate, Candidates
from ginnel.core.node.constants import (
    CALL_BACK_GAP,
    DISCO_PING_INTERVAL,
    FIRST_ROUNDS,
    FIRST_ROUNDS_AGAIN,
    FIRST_ROUNDS_AGAIN_MAX,
    PROVEN_ENDPOINT_INTERVAL,
    SEARCH_BURST,
    SEARCH_FREE,
    SEARCH_INTERVAL,
    SEARCH_RATE,
    SOURCES_BURST,
    SOURCES_RATE,
)
from ginnel.core.node.path_actions import NEVER, Invite, LookAround, PathAction, Probe, Purpose
from ginnel.core.node.probe_budget import ProbeBudget
from ginnel.core.node.scoring import Proven
from ginnel.core.node.shunned import Shunned
from ginnel.words import Endpoint, Instant

ROUNDING = 0.05  # a round that comes a little early still asks everybody


class Rounds:
    """`next_at`: when `next_of_burst` is due; None: no burst runs. `last_full`: when all candidates were last asked.
    `silent`: the user wants neither pings nor calls."""

    def __init__(self, budget: ProbeBudget) -> None:
        self.candidates = Candidates()
        self.next_at: Instant | None = None
        self.last_full = NEVER
        self.shunned = Shunned()
        self.silent = False
        self._budget = budget
        self._sources = TokenBucket(SOURCES_BURST, SOURCES_RATE)
        """Probes to addresses that nothing but a ping from there has named, and that never answered. Beyond them such a
        ping gets its pong and no more, so somebody whose address was forged gets no more packets than were sent."""
        self._search = TokenBucket(SEARCH_BURST, SEARCH_RATE)
        """Probes of rounds in which no address answers: behind a NAT that maps each destination anew a peer collects
        many, and none of them will ever do."""
        self._burst_began = NEVER
        self._burst_gap = FIRST_ROUNDS_AGAIN
        self._done = 0
        self.last_invite = NEVER

    # --- bursts ---

    def may_hurry(self, now: Instant) -> bool:
        """Whether the last quick rounds began long enough ago for others."""
        return now - self._burst_began >= self._burst_gap

    def hope_again(self) -> None:
        """Something is new, so the next quick rounds need not wait long."""
        self._burst_gap = FIRST_ROUNDS_AGAIN

    def begin_anew(self) -> None:
        """Nobody searched for a while, or what is known says nothing."""
        self._search.fill()
        self.hope_again()

    def anew(self, now: Instant) -> list[PathAction]:
        """Something was lost: ask at once, by quick rounds if they have not just begun."""
        if self.may_hurry(now):
            return self.begin(now, invite=True)
        return [*self.ask_all(now), *self.invite(now, gap=CALL_BACK_GAP)]

    def begin(self, now: Instant, *, invite: bool = False) -> list[PathAction]:
        if now - self._burst_began < FIRST_ROUNDS_AGAIN_MAX:
            self._burst_gap = min(FIRST_ROUNDS_AGAIN_MAX, 2 * self._burst_gap)
        self._burst_began = now
        self._done = 0
        return [*self.next_of_burst(now), *(self.invite(now) if invite else [])]

    def next_of_burst(self, now: Instant) -> list[PathAction]:
        self._done += 1
        more = self._done < len(FIRST_ROUNDS)
        self.next_at = Instant(self._burst_began + FIRST_ROUNDS[self._done]) if more else None
        return [*self.ask_all(now), *([] if more else self._in_vain(now))]

    def _in_vain(self, now: Instant) -> list[PathAction]:
        """Perhaps the peer was called to where we are no more."""
        return [] if self.silent else [LookAround(), *self.invite(now, gap=CALL_BACK_GAP)]

    def stop(self) -> None:
        """A path was found."""
        self.next_at = None

    def forget(self) -> None:
        """What was tried and proven says nothing any more: the next search is a first one."""
        self.candidates.forget_history()
        self.shunned.clear()
        self._burst_began = self.last_invite = NEVER
        self.begin_anew()

    # --- rounds ---

    def at_ordinary_pace(self, now: Instant) -> list[PathAction]:
        """A round with a call-me-maybe, leaving out who was asked lately."""
        self.last_full = now
        self.candidates.expire(now)
        due: list[tuple[Endpoint, Candidate]] = []
        for endpoint, candidate in self.candidates.items():
            gap = PROVEN_ENDPOINT_INTERVAL if candidate.proven_lately(now) else SEARCH_INTERVAL
            if candidate.last_ping is None or now - candidate.last_ping >= gap - ROUNDING:
                due.append((endpoint, candidate))
        return [*self._ask(due, now), *self.invite(now)]

    def ask_all(self, now: Instant) -> list[PathAction]:
        """Every candidate, whenever it was last asked; the budgets alone say no."""
        self.last_full = now
        self.candidates.expire(now)
        return self._ask(self.candidates.items(), now)

    def _ask(self, wanted: list[tuple[Endpoint, Candidate]], now: Instant) -> list[PathAction]:
        """Those that are new or have worked, and of the others as many as this peer may cost, who waited longest
        first."""
        paid = [(endpoint, candidate) for endpoint, candidate in wanted if not _is_free(candidate, now)]
        paid.sort(key=lambda each: each[1].last_ping or NEVER)
        put_off = {endpoint for endpoint, _ in paid[self._search.left(now) :]}
        actions: list[PathAction] = []
        for endpoint, candidate in wanted:
            free = _is_free(candidate, now)
            if endpoint not in put_off and (probe := self.probe(endpoint, Purpose.DISCOVERY, now)):
                actions += probe
                if not free:
                    self._search.take(now)
        return actions

    # --- single steps ---

    def may_probe(self, endpoint: Endpoint, now: Instant) -> bool:
        """Whether a ping may go there now; if so it is counted."""
        if self.silent or self.shunned.now(endpoint, now):
            return False
        candidate = self.candidates.get(endpoint)
        if candidate is not None and candidate.hearsay and not self._sources.take(now):
            return False
        if not self._budget.spend(endpoint, now):
            return False
        if candidate is not None:
            candidate.last_ping = now
            candidate.asked += 1
        return True

    def ask_back(self, endpoint: Endpoint, socket: int, now: Instant) -> list[PathAction]:
        """A ping came from there to that side socket."""
        if self.candidates.get(endpoint) is None and not self._sources.take(now):
            return []
        return self.probe(endpoint, Purpose.DISCOVERY, now, socket=socket)

    def probe(
        self, endpoint: Endpoint, purpose: Purpose, now: Instant, *, socket: int = 0, size: int = 0
    ) -> list[PathAction]:
        return [Probe(endpoint, purpose, socket, size)] if self.may_probe(endpoint, now) else []

    def answered(self, proven: Proven, now: Instant) -> None:
        candidate = self.candidates.get(proven.endpoint)
        if candidate is not None and not proven.socket:
            candidate.last_pong, candidate.proven, candidate.asked = now, proven, 0
        self._search.fill()
        self._budget.answered(proven.endpoint)
        self.hope_again()

    def invite(self, now: Instant, *, gap: float = DISCO_PING_INTERVAL) -> list[PathAction]:
        """A peer without a known candidate is invited too: it may be the only one who can begin."""
        if self.silent or now - self.last_invite < gap:
            return []
        self.last_invite = now
        return [Invite()]


def _is_free(candidate: Candidate, now: Instant) -> bool:
    return candidate.asked < SEARCH_FREE or candidate.proven_lately(now)
