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


@dataclass(frozen=True, slots=True)
class Probe:
    """Ping the peer at this endpoint."""

    endpoint: Endpoint
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Invite:
    """Send the peer a call-me-maybe by its relay, with fresh endpoints of ours."""


PathAction = Probe | Invite | Steer
