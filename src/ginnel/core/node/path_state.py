"""The states of one peer's path, and the timers of its chooser (paths.py).

Room: core.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from ginnel.core.node.constants import TRUST_UDP_ADDR_DURATION
from ginnel.core.node.path_actions import NEVER
from ginnel.core.node.scoring import Proven
from ginnel.words import Instant


@dataclass(frozen=True, slots=True)
class Relayed:
    """No direct endpoint is known to work."""


@dataclass(frozen=True, slots=True)
class Direct:
    """The endpoint answered, last at `proven_at`. Alone in use until `trusted_until`; after that the relay is used as
    well. `doubted`: it did not answer in time."""

    proven: Proven
    proven_at: Instant
    doubted: bool = False

    @property
    def trusted_until(self) -> Instant:
        return NEVER if self.doubted else Instant(self.proven_at + TRUST_UDP_ADDR_DURATION)


class Timer(Enum):
    """What a chooser may wait for."""

    HEARTBEAT = auto()
    NEXT_ROUND = auto()
    TRUST_ENDS = auto()
    SILENCE = auto()
    PONG_DUE = auto()
    CALL_BACK = auto()
    SIZE_PONG_DUE = auto()
    TRIAL_ENDS = auto()
    SIDE_ENDS = auto()
    QUESTION = auto()
