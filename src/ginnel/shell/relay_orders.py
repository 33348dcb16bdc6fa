"""What the server orders is done to the relay: members, mesh, drain. The same beside the server and far from it.

Room: shell.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from ginnel.native import Relay
from ginnel.wire.relaycontrol import RelayOrder
from ginnel.words import NodeKey

RECONNECT_IN = 0.0
TRY_FOR = 60.0
CLOSE_OVER = 5.0
"""Seconds over which those are disconnected who are still there when a drain is over."""

FEW = 16
"""Logins up to which it is worth looking who they are."""


class RelayOrders:
    """`members`: those in force. `kept` is called when a whole list came or a change of it."""

    def __init__(self, native: Relay, kept: Callable[[Collection[NodeKey]], None]) -> None:
        self.members: set[NodeKey] = set()
        self.state = ""
        self.why = ""
        self._native = native
        self._kept = kept
        self._begun: set[NodeKey] | None = None
        self._probers: frozenset[bytes] = frozenset()
        self._refusing = False

    def take(self, order: RelayOrder) -> None:
        self._take_members(order)
        if order.mesh_key:
            key = None if order.mesh_key == "none" else bytes.fromhex(order.mesh_key)
            rows = [(peer.host, peer.addresses, peer.port, peer.cert_name) for peer in order.mesh or ()]
            self._native.set_mesh(key, rows)
        if order.state:
            self._take_state(order)

    def replace_members(self, keys: Collection[NodeKey]) -> None:
        """Others are disconnected."""
        self.members = set(keys)
        self._native.set_members([key.raw for key in self.members])

    def clients(self) -> int:
        """Logins of nodes: neither the region's other relays nor, where it matters, the server's prober."""
        count = self._native.client_count()
        if not self._probers or not 0 < count <= FEW:
            return count
        return max(count - sum(row[0] in self._probers for row in self._native.clients()), 0)

    def mesh_links(self) -> int:
        """How many of the region's other relays it is connected to."""
        return sum(connected for _, connected, _, _ in self._native.mesh())

    def _take_members(self, order: RelayOrder) -> None:
        if order.probers is not None:
            self._probers = frozenset(key.raw for key in order.probers)
        if order.begin:
            self._begun = set()
        if self._begun is not None:
            self._begun |= set(order.members or ())
            if order.complete:
                self.replace_members(self._begun)
                self._begun = None
                self._kept(self.members)
        elif order.added or order.removed:
            self._change(order.added or [], order.removed or [])

    def _change(self, added: list[NodeKey], removed: list[NodeKey]) -> None:
        for key in added:
            self.members.add(key)
            self._native.add_member(key.raw)
        for key in removed:
            self.members.discard(key)
            self._native.remove_member(key.raw)
        self._kept(self.members)

    def _take_state(self, order: RelayOrder) -> None:
        ended = order.state == "drained" and self.state != "drained"
        self.state, self.why = order.state, order.why
        self._refuse_logins(order.refuse_logins)
        if ended:
            self._native.close_clients(CLOSE_OVER)

    def _refuse_logins(self, refuse: bool) -> None:
        if refuse != self._refusing:
            self._refusing = refuse
            if refuse:
                self._native.drain(RECONNECT_IN, TRY_FOR)
            else:
                self._native.undrain()
