"""The open streams to the fleet's relays, and who may use them: what each relay is sent, and when.

Room: shell.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from ginnel.core.control.frames import Frames
from ginnel.shell.control.coordinator_doors import Members, Sink
from ginnel.wire.mapstream import ZSTD
from ginnel.wire.relaycontrol import MEMBERS_PER_MESSAGE, RelayOrder
from ginnel.wire.tailcfg import encode
from ginnel.words import NodeKey


class OwnLink(Protocol):
    """The relay beside the server."""

    def send(self, order: RelayOrder) -> None: ...
    def clients(self) -> int: ...
    def mesh_links(self) -> int: ...
    def counters(self) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True, eq=False)
class StreamLink:
    """A relay elsewhere, by its stream."""

    relay: int
    sink: Sink

    def send(self, order: RelayOrder) -> None:
        self.sink.write(framed(order))

    def end(self) -> None:
        self.sink.finish()


@dataclass(slots=True)
class FleetMembers:
    """All node keys that a relay may let in, told to the relay beside the server and to all streams at once.
    `always`: the prober's key."""

    always: frozenset[NodeKey]
    beside: Members | None = None
    keys: set[NodeKey] = field(default_factory=set)
    links: dict[int, StreamLink] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.beside is not None:
            for key in self.always:
                self.beside.add_member(key)

    def add_member(self, key: NodeKey) -> None:
        if self.beside is not None:
            self.beside.add_member(key)
        if key not in self.keys:
            self.keys.add(key)
            self._tell(RelayOrder(added=[key]))

    def remove_member(self, key: NodeKey) -> None:
        if self.beside is not None:
            self.beside.remove_member(key)
        if key in self.keys:
            self.keys.discard(key)
            self._tell(RelayOrder(removed=[key]))

    def open(self, link: StreamLink) -> StreamLink | None:
        """The link gets everybody, and every change from here on. Returns the older one of the same relay."""
        for order in self._everybody():
            link.send(order)
        older = self.links.get(link.relay)
        self.links[link.relay] = link
        return older

    def close(self, link: StreamLink) -> bool:
        """Whether it was the relay's latest."""
        if self.links.get(link.relay) is not link:
            return False
        del self.links[link.relay]
        return True

    def keep_alive(self) -> None:
        self._tell(RelayOrder(keep_alive=True))

    def _everybody(self) -> Iterable[RelayOrder]:
        keys = sorted(self.keys | self.always)
        pieces = [keys[at : at + MEMBERS_PER_MESSAGE] for at in range(0, len(keys), MEMBERS_PER_MESSAGE)] or [[]]
        for number, piece in enumerate(pieces):
            probers = sorted(self.always) if number == 0 else None
            yield RelayOrder(begin=number == 0, members=piece, probers=probers, complete=number == len(pieces) - 1)

    def _tell(self, order: RelayOrder) -> None:
        data = framed(order)
        for link in list(self.links.values()):
            link.sink.write(data)


def framed(order: RelayOrder) -> bytes:
    return Frames([encode(order)]).bytes_for(ZSTD)
