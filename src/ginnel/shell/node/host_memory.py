"""The addresses that hosts of a mesh had last, and its DERP map, in memory and on disk.

Room: shell. Written some seconds after a change, so that many changes are written once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import msgspec

from ginnel.shell.node.remembered import Remembered, RememberedFile
from ginnel.wire.bootstrapdns import ADDRESSES_KEPT
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import IpAddress

WRITE_AFTER = 5.0
HOSTS_KEPT = 4
RELAYS_KEPT = 1024


class HostMemory:
    def __init__(self, file: RememberedFile | None = None) -> None:
        self._file = file or RememberedFile(None)
        self._known = Remembered()
        self._timer: asyncio.TimerHandle | None = None

    def serve(self, control_url: str) -> bool:
        """Whether it is another server than before; then what is on disk of it is known."""
        if control_url == self._known.control_url:
            return False
        self.close()
        self._known = self._file.read(control_url)
        return True

    def close(self) -> None:
        """Write what is not written yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._write()

    @property
    def derp_map(self) -> DERPMap | None:
        return self._known.derp_map

    def host(self, name: str) -> tuple[str, ...]:
        return self._known.hosts.get(name, ())

    def relay(self, name: str) -> tuple[str, ...]:
        return self._known.relays.get(name, ())

    def relays(self) -> dict[str, list[IpAddress]]:
        return {name: [ip_address(text) for text in found] for name, found in self._known.relays.items()}

    def reached(self, name: str, addresses: Sequence[str]) -> None:
        """The server or a log host was there; the one that was reached longest ago gives way."""
        if self.host(name) == tuple(addresses[:ADDRESSES_KEPT]):
            return
        others = [(other, found) for other, found in self._known.hosts.items() if other != name]
        hosts = dict([*others, (name, tuple(addresses[:ADDRESSES_KEPT]))][-HOSTS_KEPT:])
        self._change(msgspec.structs.replace(self._known, hosts=hosts))

    def found_relay(self, name: str, addresses: Sequence[str]) -> None:
        kept = tuple(addresses[:ADDRESSES_KEPT])
        if self.relay(name) != kept and (name in self._known.relays or len(self._known.relays) < RELAYS_KEPT):
            self._change(msgspec.structs.replace(self._known, relays={**self._known.relays, name: kept}))

    def map_changed(self, derp_map: DERPMap | None) -> None:
        """Relays that are no longer in it are forgotten."""
        if derp_map == self._known.derp_map:
            return
        regions = (derp_map.regions or {}).values() if derp_map is not None else ()
        named = {node.host_name for region in regions if region is not None for node in region.nodes or []}
        relays = {name: found for name, found in self._known.relays.items() if name in named}
        self._change(msgspec.structs.replace(self._known, derp_map=derp_map, relays=relays))

    def _change(self, known: Remembered) -> None:
        self._known = known
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_AFTER, self._write)

    def _write(self) -> None:
        self._timer = None
        self._file.write(self._known)
