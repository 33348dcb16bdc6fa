"""What is told of the fleet and known of it: its settings, and what its relays say beyond their records.

Room: shell.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from ginnel.core.control.derp_views import Edits, View
from ginnel.core.control.fleet_states import FleetRules
from ginnel.shell.control.fleet_probe import Outlook, Prober
from ginnel.wire.relaycontrol import RelayState
from ginnel.wire.tailcfg import DERPRegion
from ginnel.words import MachineKey, MachinePrivate, NodeKey, NodePrivate, WallTime

MAX_COUNTERS = 100  # of one relay that are shown
TOLD: dict[str, RelayState] = {
    "Probing": "probing",
    "Announced": "probing",
    "InMap": "in map",
    "Failing": "in map",
    "Out": "out",
    "Draining": "draining",
    "Drained": "drained",
}


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """`static`: the configuration's regions, and the second address of our own relay. `own`: our own relay's region,
    None without one. `machine`: this server's own Noise key, under which its own relay stands in the book."""

    machine: MachineKey
    own: DERPRegion | None
    own_key: NodeKey | None
    own_mesh: bool
    static: dict[int, DERPRegion]
    edits: Edits = field(default_factory=Edits)
    views: tuple[View, ...] = ()
    rules: FleetRules = field(default_factory=FleetRules)
    spread: bool = True


@dataclass(slots=True)
class Live:
    """What is known of a relay beyond its record: from its reports and from the last look at it."""

    clients: int = 0
    mesh_links: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    connected: bool = False
    reported: bool = False
    restated: bool = False  # its record is newer than its entry in the map
    announced: bool = True  # the map may name it as it was seen last
    outlook: Outlook | None = None
    looked: WallTime | None = None


def prober_of(server: MachinePrivate) -> Prober:
    """Its key stays the same over restarts, so that relays go on letting it in; nothing about the server's own key
    follows from it."""
    return Prober(NodePrivate(hmac.digest(server.raw, b"ginnel fleet prober", "sha256")))


def shown_counters(counters: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counters.items())[:MAX_COUNTERS])
