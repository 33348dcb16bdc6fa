"""The fleet's settings from the configuration.

Room: shell.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from ginnel.core.control.derp_views import Edits, View
from ginnel.core.control.derpmap import second_region
from ginnel.core.control.fleet_states import FleetRules
from ginnel.shell.control.config import ServerConfig, static_regions
from ginnel.shell.control.config_relays import RelaysConfig, RelayViewConfig
from ginnel.shell.control.fleet_facts import FleetSettings
from ginnel.wire.tailcfg import DERPRegion
from ginnel.words import MachineKey, NodeKey


class Beside(Protocol):
    @property
    def region(self) -> DERPRegion: ...
    @property
    def key(self) -> NodeKey: ...


def fleet_settings(config: ServerConfig, machine: MachineKey, relay: Beside | None) -> FleetSettings:
    """Raises ConfigError."""
    own = relay.region if relay is not None else None
    relays = config.relays
    static = static_regions(config)
    if own is not None and config.relay.second_addresses:
        static = {own.region_id + 1: second_region(own, config.relay.second_addresses), **static}
    if own is not None:
        own = msgspec.structs.replace(own, latitude=config.relay.latitude, longitude=config.relay.longitude)
    return FleetSettings(
        machine=machine,
        own=own,
        own_key=relay.key if relay is not None else None,
        own_mesh=relay is not None,
        static=static,
        edits=edits_of(relays),
        views=tuple(map(_view, relays.view)),
        rules=FleetRules(relays.probe_interval, relays.probe_failures, relays.probe_recoveries),
        spread=relays.spread,
    )


def edits_of(relays: RelaysConfig) -> Edits:
    return Edits(
        remove=frozenset(relays.remove),
        avoid=frozenset(relays.avoid),
        no_home=frozenset(relays.no_home),
        scores=relays.scores,
        names_only=relays.names_only,
    )


def _view(view: RelayViewConfig) -> View:
    return View(
        tags=frozenset(view.tags),
        users=frozenset(view.users),
        regions=None if view.regions is None else frozenset(view.regions),
        omit=frozenset(view.omit),
        names_only=view.names_only,
    )
