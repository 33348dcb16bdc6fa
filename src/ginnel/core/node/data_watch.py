"""Whether data gets through by the direct way in use. Disco that is answered there proves only that disco is: firewalls
and scrubbing centres are known to take WireGuard alone (github.com/tailscale/tailscale/issues/19457).

Room: core. What can be seen from here: when we sent, and by which way authentic data came. A way on which we wait for
data is first asked by disco (the chooser's part). If it answers and the silence lasts, there is a trial: the relay
carries the same data as well. What then comes by the relay, and does not come by the way, is the proof; the peer that
hears us by the relay makes the same trial.
"""

from __future__ import annotations

from dataclasses import dataclass

from ginnel.core.node.constants import (
    DATA_OWED_WITHIN,
    SILENCE_IS_SUSPECT,
    SILENCE_WAS_FLOW,
    SUSPECT_AGAIN,
    SUSPECT_AGAIN_MAX,
    TOLD_WITHIN,
    TRIAL,
    TRIAL_AGAIN,
    TRIAL_AGAIN_MAX,
    TRIAL_PROOF,
)
from ginnel.core.node.path_actions import NEVER
from ginnel.words import Instant

ROUNDING = 1e-6


@dataclass(slots=True)
class Trial:
    """`relayed`: when data first came by a relay since then."""

    ends: Instant
    relayed: Instant | None = None


class DataWatch:
    """Of one way, from `used` on. `trial`: the relay carries as well, for that long. `accused`: the way has failed
    before and has not carried anything since."""

    def __init__(self) -> None:
        self.trial: Trial | None = None
        self.accused = False
        self._heard_here = NEVER  # or the way's first use
        self._heard = NEVER
        self._sent = NEVER
        self._waiting: Instant | None = None  # since the first packet sent after `_heard_here`
        self._asked = False
        self._calm_down()

    def _calm_down(self) -> None:
        self._suspect_gap, self._suspect_next = SUSPECT_AGAIN, NEVER
        self._trial_gap, self._trial_next = TRIAL_AGAIN, NEVER

    def _acquit(self, now: Instant) -> None:
        """The trial proved nothing, so the next one waits longer: there are flows that pause by their nature."""
        self.trial = None
        self._trial_next = Instant(now + self._trial_gap)
        self._trial_gap = min(TRIAL_AGAIN_MAX, 2 * self._trial_gap)

    def used(self, now: Instant, *, accused: bool) -> None:
        """Another way is in use now. One that was `accused` before is on trial from the start."""
        self._heard_here = now
        self._waiting = None
        self._asked = False
        self.accused = accused
        self._calm_down()
        self.trial = Trial(Instant(now + TRIAL)) if accused else None

    # --- data ---

    def sent(self, now: Instant) -> Instant | None:
        """Since when an answer is waited for, if that begins now. Where packets follow one another, more often than is
        told, the first unanswered one went out right after the last answer. After a pause nothing is known of the
        packets before it: their answer may have come too soon after another one to be told."""
        steadily = now - self._sent <= TOLD_WITHIN
        paused = now - self._sent > SILENCE_WAS_FLOW
        self._sent, before = now, self._sent
        if self._waiting is not None and not paused:
            return None
        self._waiting = max(self._heard_here, before) if steadily else now
        return self._waiting

    def heard_here(self, now: Instant) -> None:
        self._heard = self._heard_here = now
        self._waiting = None
        self._asked = self.accused = False
        self._suspect_gap, self._suspect_next = SUSPECT_AGAIN, NEVER
        if self.trial is not None:
            self._acquit(now)

    def heard_elsewhere(self, now: Instant) -> None:
        """By another UDP way: the peer may have its reasons."""
        self._heard = now

    def heard_by_relay(self, now: Instant) -> bool:
        """True: that is the proof that the way does not carry data."""
        self._heard = now
        if self.trial is None:
            return False
        self.trial.relayed = self.trial.relayed or now
        return now - self.trial.relayed >= TRIAL_PROOF

    # --- judgement ---

    def suspicious(self, now: Instant) -> bool:
        """There was a flow, we send, and nothing came by this way."""
        return (
            self._waiting is not None
            and self._still_sending(now)
            and now - self._waiting >= SILENCE_IS_SUSPECT - ROUNDING
            and now - self._heard <= SILENCE_WAS_FLOW
            and now >= self._suspect_next
        )

    def asked(self, now: Instant) -> None:
        """The peer was pinged for it."""
        self._asked = True
        self._suspect_next = Instant(now + self._suspect_gap)
        self._suspect_gap = min(SUSPECT_AGAIN_MAX, 2 * self._suspect_gap)

    def answered(self, now: Instant) -> bool:
        """The way answered a ping. True: a trial begins."""
        asked, self._asked = self._asked, False
        if not asked or self._waiting is None or self.trial is not None or now < self._trial_next:
            return False
        if now - self._trial_next > TRIAL_AGAIN_MAX:
            self._trial_gap = TRIAL_AGAIN
        self.trial = Trial(Instant(now + TRIAL))
        return True

    def trial_over(self, now: Instant) -> bool:
        """True: the way does not carry data. A way accused before needs no more than silence by every way. The proof
        may be under way: then the trial goes on for that long."""
        trial, self.trial = self.trial, None
        if trial is None:
            return False
        if self.accused and self._heard < trial.ends - TRIAL and self._still_sending(now):
            return True
        if trial.relayed is not None and now - trial.relayed < TRIAL_PROOF + TOLD_WITHIN:
            self.trial = Trial(Instant(now + TOLD_WITHIN), trial.relayed)
            return False
        self._acquit(now)
        return False

    def overdue(self, now: Instant) -> bool:
        """True: whoever received what we sent would have answered by now, if only with a keepalive."""
        if self._waiting is None or not self._still_sending(now):
            return False
        return now - max(self._waiting, self._heard) >= DATA_OWED_WITHIN

    def _still_sending(self, now: Instant) -> bool:
        return self._waiting is not None and now - self._sent <= TOLD_WITHIN
