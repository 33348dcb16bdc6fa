"""What the stub pump notices, handed to the core of its machine.

Room: testing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ginnel.words import Endpoint, NodeKey, RegionId

if TYPE_CHECKING:
    from ginnel.testing.node import SimNode


@dataclass(frozen=True, slots=True)
class Notices:
    """The pump's notices, on their way to the core."""

    node: SimNode

    def sent(self, key: NodeKey) -> None:
        self.node.input(self.node.mesh.sent, key)

    def received(self, key: NodeKey, by: Endpoint | RegionId) -> None:
        self.node.input(self.node.mesh.received, key, by)

    def handshake(self, key: NodeKey) -> None:
        self.node.input(self.node.mesh.handshake, key)

    def relay_wanted(self, region: RegionId) -> None:
        self.node.input(self.node.mesh.relay_wanted, region)
