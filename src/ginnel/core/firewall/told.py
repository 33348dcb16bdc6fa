"""What a coordination server tells beyond the DERP map: the zone of its relays' names, its log hosts, and the key that
signs its allowlist.

Room: core. Members of the mesh hear it in the capability map of their own node (tailscale: tailcfg.NodeCapMap, where
clients pass over what they do not know), everybody else in headers of `/derpmap/default`; the key members alone, for
that map is authenticated by the server's Noise key, and headers are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RANDOMIZE = "randomize-client-port"
ZONE = "ginnel/relay-zone"
LOGS = "ginnel/log-hosts"
FEED = "ginnel/feed-key"
ZONE_HEADER = "ginnel-relay-zone"
LOGS_HEADER = "ginnel-log-hosts"
LOGS_LIMIT = 16


@dataclass(frozen=True, slots=True)
class Told:
    """Not checked yet: `zone` is a name or "", `logs` are names, `feed` is the text of a key or ""."""

    zone: str = ""
    logs: tuple[str, ...] = ()
    feed: str = ""

    def attributes(self) -> dict[str, list[Any] | None]:
        """For a node's capability map."""
        named = ((ZONE, _one(self.zone)), (LOGS, self.logs), (FEED, _one(self.feed)))
        return {key: list(names) for key, names in named if names}

    def headers(self) -> dict[str, str]:
        named = ((ZONE_HEADER, _one(self.zone)), (LOGS_HEADER, self.logs))
        return {key: ", ".join(names) for key, names in named if names}


NOTHING_TOLD = Told()


def told_by_attributes(attributes: Mapping[str, Any]) -> Told:
    zone, logs, feed = (_names(attributes.get(key)) for key in (ZONE, LOGS, FEED))
    return Told(zone[0] if zone else "", logs, feed[0] if feed else "")


def told_by_headers(headers: Mapping[str, str]) -> Told:
    logs = tuple(name.strip() for name in headers.get(LOGS_HEADER, "").split(",") if name.strip())
    return Told(headers.get(ZONE_HEADER, "").strip(), logs[:LOGS_LIMIT])


def _one(name: str) -> tuple[str, ...]:
    return (name,) if name else ()


def _names(value: object) -> tuple[str, ...]:
    items: Sequence[Any] = value if isinstance(value, list) else ()
    return tuple(item for item in items if isinstance(item, str))[:LOGS_LIMIT]
