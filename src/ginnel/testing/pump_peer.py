"""One peer in the simulated data plane (pump.py): its session's counters, and when what was sent, heard and told.

Room: testing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ginnel.core.node.home_region import NO_REGION
from ginnel.words import Endpoint, Instant, RegionId

QUEUE = 128
NOTE_EVERY, COPIES_KEPT, COPY_KEPT_FOR = 0.02, 50, 1.0  # what came by a relay just now
WINDOW = 2048  # counters that may come late
NEVER = Instant(float("-inf"))


@dataclass(slots=True)
class PumpPeer:
    """What the stub pump holds of one peer. `socket`: the side socket that reaches the endpoint; 0: none."""

    allowed: tuple[str, ...] = ()
    endpoint: Endpoint | None = None
    region: RegionId = NO_REGION
    socket: int = 0
    may_answer: tuple[bool, bool] = (False, False)  # by UDP, by a relay, while no way is set
    theirs: int | None = None  # the process that the session is with
    queue: deque[bytes] = field(default_factory=lambda: deque(maxlen=QUEUE))
    counter: int = 0
    highest: int = -1  # counter that came in
    seen: set[int] = field(default_factory=set)
    relayed: dict[int, Instant] = field(default_factory=dict)  # counters that came by a relay just now
    asked_at: Instant = NEVER  # for a session
    asking_since: Instant = NEVER
    noted_sent: Instant = NEVER
    noted_received: dict[bool, Instant] = field(default_factory=dict)  # by UDP, or by a relay
    unanswered_since: Instant | None = None
    doubted_since: Instant | None = None
    doubts: int = 0
    spoke_at: Instant = NEVER
    unheard: bool = True
    keepalive_at: Instant | None = None

    def begin(self, theirs: int) -> None:
        if self.theirs != theirs:
            self.theirs, self.highest = theirs, -1
            self.seen.clear()
            self.relayed.clear()

    def note_relayed(self, counter: int, now: Instant) -> None:
        """So that its copy by UDP is known."""
        if self.relayed and now - next(reversed(self.relayed.values())) < NOTE_EVERY:
            return
        if len(self.relayed) == COPIES_KEPT:
            del self.relayed[next(iter(self.relayed))]
        self.relayed[counter] = now

    def is_copy(self, counter: int, now: Instant) -> bool:
        """Whether a relay brought it just now. Once."""
        return now - self.relayed.pop(counter, NEVER) <= COPY_KEPT_FOR

    def fresh(self, counter: int) -> bool:
        """Not seen before, nor older than the window."""
        if counter in self.seen or counter <= self.highest - WINDOW:
            return False
        self.highest = max(self.highest, counter)
        self.seen.add(counter)
        if len(self.seen) > 2 * WINDOW:
            self.seen = {seen for seen in self.seen if seen > self.highest - WINDOW}
        return True
