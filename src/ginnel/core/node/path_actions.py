"""What one peer's path asks of the mesh: whom to probe, whom to call, where to steer.

Room: core. Plain values, performed by discovery.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from ginnel.core.node.actions import Steer
from ginnel.words import Endpoint, Instant

NEVER = Instant(float("-inf"))


class Purpose(Enum):
    DISCOVERY = auto()
    HEARTBEAT = auto()
    CLI = auto()
    PUNCH = auto()


@dataclass(frozen=True, slots=True)
class Probe:
    """Ping the peer at this endpoint, from the tunnel's own socket or the auxiliary one of that number. `size`: of the
    UDP payload; 0: as small as can be. `ttl`: hops that the ping may go, 0: the system's."""

    endpoint: Endpoint
    purpose: Purpose
    socket: int = 0
    size: int = 0
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class Invite:
    """Send the peer a call-me-maybe by its relay, with fresh endpoints of ours."""


@dataclass(frozen=True, slots=True)
class LookAround:
    """A path was lost: our own outside addresses may be others, so they are asked for before anybody is called."""


@dataclass(frozen=True, slots=True)
class Question:
    """Ask the peer for an answer inside the tunnel, by the direct way alone."""


PathAction = Probe | Invite | LookAround | Question | Steer
