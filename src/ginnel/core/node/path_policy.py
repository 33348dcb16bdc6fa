"""What the user allows for the way to a peer.

Room: core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class PathPolicy(StrEnum):
    """AUTO: direct where that works, by relay where not. DIRECT: no WireGuard packet goes by a relay, so there may be
    no way at all. RELAY: nothing goes to the peer's addresses, and its probes are not answered."""

    AUTO = "auto"
    DIRECT = "direct"
    RELAY = "relay"


@dataclass(frozen=True, slots=True)
class PathPolicies:
    """`peers`: by stable node id; all others have the default."""

    default: PathPolicy = PathPolicy.AUTO
    peers: Mapping[str, PathPolicy] = field(default_factory=dict)

    def of(self, stable_id: str) -> PathPolicy:
        return self.peers.get(stable_id, self.default)
