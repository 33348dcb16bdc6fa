"""How many UDP answers a network gets: a resolver in front of many clients enough, a victim of forged queries no flood.

Room: core. Each prefix (/24, /56) has a bucket that fills at `rate`. When it is empty, every second answer is cut to
"ask by TCP", which is no longer than the question: who really asked gets through, and forged queries gain nothing
(response rate limiting, ISC-TN-2012-1).
"""

from __future__ import annotations

from enum import Enum

from ginnel.words import Instant

DEFAULT_RATE = 50.0
BURST_SECONDS = 4.0
MAX_PREFIXES = 65_536
_OTHERS = b""


class Verdict(Enum):
    ANSWER = "answer"
    SLIP = "slip"
    DROP = "drop"


def prefix_of(address: bytes) -> bytes:
    """The network of a packed address, 4 or 16 bytes; IPv4 inside IPv6 is IPv4."""
    if len(address) == 4:
        return address[:3]
    return address[12:15] if address.startswith(b"\0\0\0\0\0\0\0\0\0\0\xff\xff") else address[:7]


class AnswerLimit:
    """`rate`: answers a second for each prefix; 0: no limit. Beyond MAX_PREFIXES at once, newcomers share one bucket.

    Two generations of buckets: one that was not touched for a generation, which is as long as a bucket takes to fill,
    is full again, so it is forgotten without loss.
    """

    def __init__(self, rate: float = DEFAULT_RATE) -> None:
        self._rate = rate
        self._burst = rate * BURST_SECONDS
        self._now: dict[bytes, list[float]] = {}
        self._before: dict[bytes, list[float]] = {}
        self._turn = 0.0
        self._slip = False

    def take(self, prefix: bytes, now: Instant) -> Verdict:
        if not self._rate:
            return Verdict.ANSWER
        bucket = self._now.get(prefix)
        if bucket is None:
            bucket = self._bucket(prefix, now)
        tokens = min(self._burst, bucket[0] + (now - bucket[1]) * self._rate)
        bucket[1] = now
        if tokens >= 1:
            bucket[0] = tokens - 1
            return Verdict.ANSWER
        bucket[0] = tokens
        self._slip = not self._slip
        return Verdict.SLIP if self._slip else Verdict.DROP

    def _bucket(self, prefix: bytes, now: Instant) -> list[float]:
        if now - self._turn >= BURST_SECONDS:
            self._before, self._now, self._turn = self._now, {}, now
        bucket = self._before.get(prefix)
        if bucket is None:
            if len(self._now) >= MAX_PREFIXES:
                prefix = _OTHERS
            bucket = self._now.get(prefix) or self._before.get(prefix) or [self._burst, now]
        self._now[prefix] = bucket
        return bucket

    def __len__(self) -> int:
        return len(self._now) + len(self._before)
