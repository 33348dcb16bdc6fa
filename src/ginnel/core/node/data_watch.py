"""Whether data gets through by the direct way in use. Disco that is answered there proves only that disco is: firewalls
and scrubbing centres are known to take WireGuard alone (github.com/tailscale/tailscale/issues/19457).

Room: core. What can be seen from here: when we sent, and by which way authentic data came. A way on which we wait for
data is first asked by disco (the chooser's part). If it answers and the silence lasts, there is a trial: the relay
carries the same data as well. What then comes by the relay, and does not come by the way, is the proof; the peer that
hears us by the relay makes the same trial. Copies that come second are told too: a relay may be the faster one.
Where the peer only listens, its keepalives are all there is to hear. One may be lost, so who owes one is first asked
inside the tunnel, by the way alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from ginnel.core.node.constants import (
    COPY_DUE,
    DATA_OWED_WITHIN,
    QUESTION_AFTER,
    QUESTION_GAP,
    QUESTIONS,
    SILENCE_IS_SUSPECT,
    SILENCE_WAS_FLOW,
    SUSPECT_AGAIN,
    SUSPECT_AGAIN_MAX,
    TOLD_WITHIN,
    TRIAL,
    TRIAL_AGAIN,
    TRIAL_AGAIN_MAX,
    TRIAL_PROOF,
    TRIAL_PROOFS,
)
from ginnel.core.node.path_actions import NEVER
from ginnel.words import Instant

ROUNDING = 1e-6


@dataclass(slots=True)
class Trial:
    """`relayed`, `relayed_last`: when data first and last came by a relay; `times`: how often that was told."""

    ends: Instant
    relayed: Instant | None = None
    relayed_last: Instant = NEVER
    times: int = 0


class DataWatch:
    """Of one way, from `used` on. `trial`: the relay carries as well, for that long. `accused`: the way has failed
    before and has not carried anything since."""

    def __init__(self) -> None:
        self.trial: Trial | None = None
        self.accused = False
        self._heard_here = NEVER  # or the way's first use
        self._heard_elsewhere = NEVER
        self._heard = NEVER
        self._sent = NEVER
        self._waiting: Instant | None = None  # since the first packet sent after `_heard_here`
        self._asked = False
        self._questions = 0
        self._questioned = NEVER
        self.questioned_since = NEVER
        """When the first of these questions was asked."""
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
        self.ends_changed(now)
        self.accused = accused
        self._calm_down()
        self.trial = Trial(Instant(now + TRIAL)) if accused else None

    def ends_changed(self, now: Instant) -> None:
        """One end moved or restarted: the silence until now says nothing about the way from here on."""
        self._heard_here = now
        self._waiting = None
        self._asked = False
        self._questions = 0

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
        self._questions = 0
        self._suspect_gap, self._suspect_next = SUSPECT_AGAIN, NEVER
        if self.trial is not None:
            self._acquit(now)

    def heard_elsewhere(self, now: Instant) -> None:
        """By another UDP way. The peer may have moved, so ours is still to be asked; if it answers, the peer has its
        reasons (a router that lets in at one port and out by another), and no need of the relay."""
        self._heard = self._heard_elsewhere = now
        self._questions = 0
        if self.trial is not None:
            self.trial = Trial(self.trial.ends)

    def heard_by_relay(self, now: Instant) -> bool:
        """True: that is the proof that the way does not carry data."""
        self._heard = now
        if self.trial is None:
            return False
        self.trial.relayed = self.trial.relayed or now
        self.trial.relayed_last = now
        self.trial.times += 1
        return now - self.trial.relayed >= TRIAL_PROOF and self.trial.times >= TRIAL_PROOFS

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
        if self._heard_elsewhere == self._heard or now - self._heard_elsewhere <= TOLD_WITHIN:
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
        if trial.relayed is not None and (longer := self._proof_under_way(trial, trial.relayed, now)):
            trial.ends = Instant(now + longer)
            self.trial = trial
            return False
        if trial.relayed is not None and trial.relayed_last - trial.relayed >= TRIAL_PROOF:
            return True
        self._acquit(now)
        return False

    @staticmethod
    def _proof_under_way(trial: Trial, relayed: Instant, now: Instant) -> float:
        """How much longer it may take; 0: it is there, or will not come."""
        if trial.relayed_last - relayed >= TRIAL_PROOF:
            return COPY_DUE if now - trial.relayed_last < COPY_DUE - ROUNDING else 0.0
        return TOLD_WITHIN if now - relayed < TRIAL_PROOF + TOLD_WITHIN else 0.0

    def late(self, now: Instant) -> bool:
        """The keepalive should have come by now."""
        return self._owed_for(QUESTION_AFTER, now)

    def question_due(self, now: Instant, latency: float) -> bool:
        """Time to ask inside the tunnel, or to ask again."""
        if not self.late(now) or self._questions >= QUESTIONS:
            return False
        return not self._questions or now - self._questioned >= self.question_gap(latency) - ROUNDING

    def questioned(self, now: Instant) -> None:
        if not self._questions:
            self.questioned_since = now
        self._questions += 1
        self._questioned = now

    @staticmethod
    def question_gap(latency: float) -> float:
        return max(QUESTION_GAP, 2 * latency)

    def silent_when_asked(self, now: Instant, latency: float) -> bool:
        """True: the peer neither sent the keepalive that it owes nor answered any of the questions."""
        answered_by = self._questioned + self.question_gap(latency) - ROUNDING
        return self.overdue(now) and self._questions >= QUESTIONS and now >= answered_by

    def overdue(self, now: Instant) -> bool:
        """True: whoever received what we sent would have answered by now, if only with a keepalive."""
        return self._owed_for(DATA_OWED_WITHIN, now)

    def _owed_for(self, seconds: float, now: Instant) -> bool:
        if self._waiting is None or not self._still_sending(now):
            return False
        return now - max(self._waiting, self._heard) >= seconds

    def _still_sending(self, now: Instant) -> bool:
        return self._waiting is not None and now - self._sent <= TOLD_WITHIN
