"""One peer as the data plane knows it: how it is steered, its session, and what is due.

Room: testing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ginnel.core.node.home_region import NO_REGION
from ginnel.words import Endpoint, Instant, RegionId

QUEUE = 128
WINDOW = 2048  # counters that may come late
NEVER = Instant(float("-inf"))


@dataclass(slots=True)
class PumpPeer:
    """What the data plane holds of one peer. `socket`: the side socket that reaches the endpoint; 0: none."""

    allowed: tuple[str, ...] = ()
    endpoint: Endpoint | None = None
    region: RegionId = NO_REGION
    socket: int = 0
    theirs: int | None = None  # the process that the session is with
    queue: deque[bytes] = field(default_factory=lambda: deque(maxlen=QUEUE))
    counter: int = 0
    highest: int = -1  # counter that came in
    seen: set[int] = field(default_factory=set)
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

    def fresh(self, counter: int) -> bool:
        """Not seen before, nor older than the window."""
        if counter in self.seen or counter <= self.highest - WINDOW:
            return False
        self.highest = max(self.highest, counter)
        self.seen.add(counter)
        if len(self.seen) > 2 * WINDOW:
            self.seen = {seen for seen in self.seen if seen > self.highest - WINDOW}
        return True
