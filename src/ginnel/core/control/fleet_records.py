"""What is kept of the relay fleet: regions, relays and the tokens by which relays join.

Room: core. Frozen values, rows as those in `records.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ginnel.wire.tailcfg import DERPNode
from ginnel.words import MachineKey, NodeKey, WallTime

Kept = Literal["joined", "in", "out", "draining", "drained", "leaving", "left"]
"""What a restart has to know of a relay's state. The last two: draining and drained by the relay's own wish."""


@dataclass(frozen=True, slots=True)
class FleetRegion:
    """A region as the admin made or changed it. `code` "" where only changes of a region from elsewhere are kept.
    `score`: factor on clients' latency, 0: none. `mesh_key`: 32 bytes once there are two relays, b"" before."""

    id: int
    code: str = ""
    name: str = ""
    latitude: float = 0.0
    longitude: float = 0.0
    score: float = 0.0
    avoid: bool = False
    no_home: bool = False
    hidden: bool = False
    mesh_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class RelayRecord:
    """A relay of the fleet. `machine`: None for one that an admin added and that does not talk to us. `key`: None until
    the first probe has seen it. `node`: as declared; `shown`: as it stood in the map last."""

    id: int
    region: int
    letter: str
    machine: MachineKey | None
    key: NodeKey | None
    node: DERPNode
    created: WallTime
    state: Kept = "joined"
    shown: DERPNode | None = None
    drain_until: WallTime | None = None
    mesh: bool = False

    @property
    def name(self) -> str:
        return f"{self.region}{self.letter}"


@dataclass(frozen=True, slots=True)
class RelayTokenRecord:
    """Of the secret only a SHA-256 is kept."""

    id: int
    prefix: str
    digest: bytes = field(repr=False)
    region: int
    created: WallTime
    expiry: WallTime
    used: WallTime | None = None
    revoked: WallTime | None = None


@dataclass(frozen=True, slots=True)
class SpendToken:
    """The token is used up. The database refuses it when it is used or revoked by then."""

    token_id: int
    at: WallTime


@dataclass(frozen=True, slots=True)
class DropRelay:
    id: int


FleetRow = FleetRegion | RelayRecord | RelayTokenRecord | SpendToken | DropRelay
