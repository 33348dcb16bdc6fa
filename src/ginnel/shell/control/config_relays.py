"""The settings of the server's own relay and of its fleet.

Room: shell.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from ginnel.core.firewall.checked import Refused
from ginnel.core.relay.bootstrap import names_of


class ConfigError(Exception):
    """One line, with the file's line where there is one."""


Duration = Annotated[str, msgspec.Meta(pattern=r"^([0-9]{1,9}[smhd])+$", max_length=40)]
"""Such as 90s, 15m or 1h30m."""

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: Duration) -> float:
    return float(sum(int(number) * UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhd])", text)))


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class RelayConfig(Table, frozen=True):
    """`addresses`: literals that clients dial. `second_addresses`: of the same machine, for NAT classification.
    `bootstrap_dns_names`: further names that `/bootstrap-dns` tells, the unpublished ones to who asks for them."""

    enabled: bool = True
    region: int = 900
    code: str = "own"
    name: str = "Own relay"
    latitude: float = 0.0
    longitude: float = 0.0
    addresses: tuple[str, ...] = ()
    second_addresses: tuple[str, ...] = ()
    members_only: bool = True
    bootstrap_dns_names: tuple[str, ...] = ()
    unpublished_bootstrap_dns_names: tuple[str, ...] = ()


class RelayViewConfig(Table, frozen=True):
    """What machines with one of these tags, or of one of these users, see of the map. Regions by number or code."""

    tags: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    regions: tuple[int | str, ...] | None = None
    omit: tuple[int | str, ...] = ()
    names_only: bool | None = None


class RelaysConfig(Table, frozen=True):
    """The fleet. `extra`: DERP maps by file or URL, looked at again every `refresh` seconds. `scores`: factors on
    clients' latency by region. Regions by number or code. `probe_*`: see docs/fleet.md. `announce_*`: how long a relay
    stands in the allowlist before the map names it, and behind its end: see docs/allowlist.md; `rehome`: see
    docs/fleet.md."""

    extra: tuple[str, ...] = ()
    refresh: float = 3600.0
    remove: tuple[int | str, ...] = ()
    avoid: tuple[int | str, ...] = ()
    no_home: tuple[int | str, ...] = ()
    scores: dict[str, float] = {}
    names_only: bool = False
    spread: bool = True
    probe_interval: float = 15.0
    probe_failures: int = 3
    probe_recoveries: int = 2
    announce_before: Duration = "0s"
    announce_after: Duration = "1h"
    rehome: bool = False
    view: tuple[RelayViewConfig, ...] = ()


def check_relay(relay: RelayConfig) -> None:
    try:
        names_of(",".join((*relay.bootstrap_dns_names, *relay.unpublished_bootstrap_dns_names)))
    except Refused as error:
        raise ConfigError(f"relay.bootstrap_dns_names: {error}") from None


def check_relays(relays: RelaysConfig) -> None:
    if relays.probe_interval < 1 or relays.probe_failures < 1 or relays.probe_recoveries < 1:
        raise ConfigError("relays.probe_interval, probe_failures and probe_recoveries are 1 or more")
    if relays.refresh < 10:
        raise ConfigError("relays.refresh is 10 seconds or more")
    for source in relays.extra:
        if not source.startswith(("/", "https://", "http://")):
            raise ConfigError(f"relays.extra: expected an absolute path or an http(s) URL, got {source!r}")
    for view in relays.view:
        if not view.tags and not view.users:
            raise ConfigError("relays.view: a view needs the tags or the users that it is for")
    for region, score in relays.scores.items():
        if not 0 < score <= 1000:
            raise ConfigError(f"relays.scores: the score of {region} must lie above 0; 1 changes nothing")
