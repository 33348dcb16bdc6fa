"""The net map in hand: frames of the stream go in, and peers' keys expire in it when their time has come.

Room: shell.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ginnel.core.node.netmap import BadMap, MapChange, NetMap, apply_frame, expire_keys, first_frame, next_expiry
from ginnel.wire.read import Malformed
from ginnel.wire.tailcfg import MapResponse
from ginnel.words import WallTime

LOOK_AGAIN = 3600.0  # the wall clock may be set meanwhile
SLACK = 0.1


class HeldMap:
    """`taken` is called with each change, when `netmap` is the new one."""

    def __init__(self, taken: Callable[[MapChange], None]) -> None:
        self.netmap = NetMap()
        self._taken = taken
        self._timer: asyncio.TimerHandle | None = None

    def drop(self) -> None:
        """Nothing is known any more; nobody is told."""
        self.netmap = NetMap()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def merge(self, frame: MapResponse, *, first: bool) -> None:
        """Raises Malformed; the map stays what it was then."""
        wall = WallTime(time.time())
        try:
            merged, change = (first_frame if first else apply_frame)(self.netmap, frame, wall)
        except BadMap as error:
            raise Malformed(str(error)) from None
        self._take(merged, change)

    def _take(self, netmap: NetMap, change: MapChange) -> None:
        self.netmap = netmap
        self._taken(change)
        self._wake_for_expiry()

    def _wake_for_expiry(self) -> None:
        self.close()
        at = next_expiry(self.netmap)
        if at is not None:
            wait = max(0.0, min(at - time.time(), LOOK_AGAIN)) + SLACK
            self._timer = asyncio.get_running_loop().call_later(wait, self._expire_peers)

    def _expire_peers(self) -> None:
        self._take(*expire_keys(self.netmap, WallTime(time.time())))


def everything(netmap: NetMap) -> MapChange:
    """The change from nothing to this map."""
    return MapChange(
        added=tuple(netmap.peers.values()),
        self_node=True, filters=True, dns=True, derp_map=True, users=True, health=True, domain=True,
    )  # fmt: skip
