"""The allowlist feed of a server that starts: the feed before the restart, and what it is made of.

Room: shell.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ginnel.core.control.allowlist_entries import ServerNames
from ginnel.core.control.allowlist_feed import AllowlistFeed, FeedRules
from ginnel.core.relaydns.zone import Zone
from ginnel.shell.control.allowlist import Allowlist, load_feed
from ginnel.shell.control.config import ServerConfig, host_of, port_of
from ginnel.shell.control.config_relays import seconds_of
from ginnel.shell.control.fleet import RelayFleet
from ginnel.shell.control.place import ALLOWLIST
from ginnel.shell.relaydns.service import RelayDns
from ginnel.wire.allowlist import FeedPrivate


def start_allowlist(
    config: ServerConfig,
    state: Path,
    private: FeedPrivate,
    fleet: RelayFleet,
    relay_dns: Callable[[], RelayDns | None],
) -> Allowlist:
    """Behind the start of the relays' DNS, or the first feed would lack its names."""
    path = state / ALLOWLIST
    before, after = seconds_of(config.relays.announce_before), seconds_of(config.relays.announce_after)
    core = AllowlistFeed(config.url, FeedRules(before, after), load_feed(path, private))
    names = ServerNames(host_of(config.url), port_of(config.url), logs=config.log_host.names)

    def zone() -> tuple[Zone, str] | None:
        serving = relay_dns()
        return (serving.zone, config.relay_dns.zone.strip(".").lower()) if serving is not None else None

    started = Allowlist(core, private, path, names, fleet, fleet.coordinator.wall, zone)
    started.map_changed()
    if before > 0:
        fleet.announce = started.announce
    return started
