"""What a box on the way remembers of UDP, and a host's own firewall.

Room: testing. Timeouts are Linux's (kernel: Documentation/networking/nf_conntrack-sysctl.rst): 30 s until a flow has
had an answer and has lived for 2 s, then so long as the box is set up to.
"""

from __future__ import annotations

from dataclasses import dataclass

from ginnel.words import Endpoint, Instant

UNANSWERED_IDLE = 30.0
STREAM_AFTER = 2.0
UDP_TIMEOUT = 120.0


@dataclass(slots=True)
class Flow:
    """Traffic between one inner endpoint and what one scope holds."""

    began: Instant
    last: Instant
    answered: bool = False

    def alive(self, now: Instant, idle: float) -> bool:
        return now < self.until(idle)

    def until(self, idle: float) -> float:
        stream = self.answered and self.last - self.began >= STREAM_AFTER
        return self.last + (idle if stream else UNANSWERED_IDLE)


class Firewall:
    """A host's own, or its IPv6 router's: what it did not ask for does not come in. `closed`: nothing passes either
    way."""

    def __init__(self, *, stateful: bool = False) -> None:
        self.stateful = stateful
        self.closed = False
        self._flows: dict[Endpoint, Flow] = {}

    def outward(self, remote: Endpoint, now: Instant) -> bool:
        if self.stateful:
            flow = self._flows.get(remote)
            if flow is None or not flow.alive(now, UDP_TIMEOUT):
                self._flows[remote] = Flow(now, now)
            else:
                flow.last = now
        return not self.closed

    def inward(self, remote: Endpoint, now: Instant) -> bool:
        if self.closed:
            return False
        if not self.stateful:
            return True
        flow = self._flows.get(remote)
        if flow is None or not flow.alive(now, UDP_TIMEOUT):
            return False
        flow.last, flow.answered = now, True
        return True

    def forget(self) -> None:
        """Restarted."""
        self._flows.clear()
