"""The search for one peer's direct path: rounds of pings to its candidates, quick at first, and call-me-maybes.

Room: core. Whether a search is wanted, and what a pong means, is decided in paths.py.
"""

from __future__ import annotations

from ginnel.core.node.candidates import Candidates
from ginnel.core.node.constants import (
    CALL_BACK_GAP,
    DISCO_PING_INTERVAL,
    FIRST_ROUNDS,
    FIRST_ROUNDS_AGAIN,
    FIRST_ROUNDS_AGAIN_MAX,
    PROVEN_ENDPOINT_INTERVAL,
    SEARCH_INTERVAL,
)
from ginnel.core.node.path_actions import NEVER, Invite, PathAction, Probe, Purpose
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
        return self.ask_all(now)

    def stop(self) -> None:
        """A path was found."""
        self.next_at = None

    def forget(self) -> None:
        """What was tried and proven says nothing any more: the next search is a first one."""
        self.candidates.forget_history()
        self.shunned.clear()
        self._burst_began = self.last_invite = NEVER
        self.hope_again()

    # --- rounds ---

    def at_ordinary_pace(self, now: Instant) -> list[PathAction]:
        """A round with a call-me-maybe, leaving out who was asked lately."""
        self.last_full = now
        self.candidates.expire(now)
        actions: list[PathAction] = []
        for endpoint, candidate in self.candidates.items():
            gap = PROVEN_ENDPOINT_INTERVAL if candidate.proven_lately(now) else SEARCH_INTERVAL
            if candidate.last_ping is None or now - candidate.last_ping >= gap - ROUNDING:
                actions += self.probe(endpoint, Purpose.DISCOVERY, now)
        return [*actions, *self.invite(now)]

    def ask_all(self, now: Instant) -> list[PathAction]:
        """Every candidate, whenever it was last asked; the budget alone says no."""
        self.last_full = now
        self.candidates.expire(now)
        return [probe for endpoint in list(self.candidates) for probe in self.probe(endpoint, Purpose.DISCOVERY, now)]

    # --- single steps ---

    def may_probe(self, endpoint: Endpoint, now: Instant) -> bool:
        """Whether a ping may go there now; if so it is counted."""
        if self.silent or self.shunned.now(endpoint, now) or not self._budget.spend(endpoint, now):
            return False
        if (candidate := self.candidates.get(endpoint)) is not None:
            candidate.last_ping = now
        return True

    def probe(
        self, endpoint: Endpoint, purpose: Purpose, now: Instant, *, socket: int = 0, size: int = 0
    ) -> list[PathAction]:
        return [Probe(endpoint, purpose, socket, size)] if self.may_probe(endpoint, now) else []

    def answered(self, proven: Proven, now: Instant) -> None:
        candidate = self.candidates.get(proven.endpoint)
        if candidate is not None and not proven.socket:
            candidate.last_pong, candidate.proven = now, proven
        self._budget.answered(proven.endpoint)
        self.hope_again()

    def invite(self, now: Instant, *, gap: float = DISCO_PING_INTERVAL) -> list[PathAction]:
        """A peer without a known candidate is invited too: it may be the only one who can begin."""
        if self.silent or now - self.last_invite < gap:
            return []
        self.last_invite = now
        return [Invite()]
