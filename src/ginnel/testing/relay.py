"""Relays and their STUN servers, one of each in a region.

Room: testing. A relay connection is TCP: nothing is lost on it or overtaken while it stands.
"""

from __future__ import annotations

from collections import deque
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from ginnel.testing.clock import VirtualClock
from ginnel.testing.nat import STUN_PORT
from ginnel.testing.network import Host, Network
from ginnel.wire import disco, stun
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import Endpoint, NodeKey, RegionId

if TYPE_CHECKING:
    from ginnel.testing.node import SimNode

ESTABLISHED_IN = 3  # legs until a relay connection stands
DIAL_TIMEOUT = 1.5
QUEUE = 32  # packets that wait for a region being dialed, the oldest go first
GONE = 1  # tailscale: derp.PeerGoneReasonNotHere


class RelayNet:
    """`leg`: seconds from a node to a relay at the same place. `dead`: regions whose relay does not run; `blocked`:
    names of nodes that reach none. `places`: as `Host.place`, by region. `seen`: whom STUN servers were asked by."""

    def __init__(self, clock: VirtualClock, network: Network, *, regions: int, leg: float) -> None:
        self.leg = leg
        self.dead: set[RegionId] = set()
        self.blocked: set[str] = set()
        self.places: dict[RegionId, float] = {}
        self.by_key: dict[NodeKey, SimNode] = {}
        self.stun_hosts: dict[RegionId, Host] = {}
        self.stun_addresses: set[Endpoint] = set()
        self.seen: set[Endpoint] = set()
        self.derp_map = derp_map(regions)
        self._clock = clock
        self._network = network
        for number in range(1, regions + 1):
            self._stun_server(RegionId(number))

    def place(self, region: int, place: float) -> None:
        self.places[RegionId(region)] = self.stun_hosts[RegionId(region)].place = place

    def way(self, node: SimNode, region: RegionId) -> float:
        """Seconds from the node to the relay."""
        return self.leg + abs(node.host.place - self.places.get(region, 0.0))

    def reachable(self, node: SimNode, region: RegionId) -> bool:
        return region not in self.dead and node.name not in self.blocked and not node.host.asleep

    # --- a node's connections ---

    def dial(self, node: SimNode, region: RegionId) -> None:
        """A relay that does not run refuses; one that is blocked is silent."""
        silent = node.name in self.blocked
        node.later(DIAL_TIMEOUT if silent else ESTABLISHED_IN * self.way(node, region), self._dialed, node, region)

    def _dialed(self, node: SimNode, region: RegionId) -> None:
        if not self.reachable(node, region):
            node.input(node.mesh.relay_down, region, "timed out")
        elif region not in node.open_relays:
            node.open_relays.add(region)
            node.input(node.mesh.relay_up, region)
            for to, packet in node.relay_queues.pop(region, ()):
                self.send(node, region, to, packet)

    def move(self, node: SimNode, region: RegionId) -> None:
        """To the region's relay again; the old connection carries meanwhile."""
        silent = node.name in self.blocked
        node.later(DIAL_TIMEOUT if silent else ESTABLISHED_IN * self.way(node, region), self._moved, node, region)

    def _moved(self, node: SimNode, region: RegionId) -> None:
        if region in node.open_relays:
            what = node.mesh.relay_up if self.reachable(node, region) else node.mesh.relay_stayed
            node.input(what, region)

    def send(self, node: SimNode, region: RegionId, to: NodeKey, packet: bytes) -> bool:
        """False: not connected, so the packet waits."""
        if region not in node.open_relays:
            node.relay_queues.setdefault(region, deque(maxlen=QUEUE)).append((to, packet))
            return False
        there = self.by_key.get(to)
        onward = self.way(there, region) if there is not None else 0.0
        self._clock.after(self.way(node, region) + onward, self._arrive, node, region, to, packet)
        return True

    def _arrive(self, sender: SimNode, region: RegionId, to: NodeKey, packet: bytes) -> None:
        there = self.by_key.get(to)
        if region in self.dead:
            return
        if there is None or region not in there.open_relays:
            sender.later(self.way(sender, region), self._gone, sender, region, to)
        elif disco.is_disco(packet):
            there.input(there.mesh.relayed_disco_received, region, sender.public, packet)
        elif not there.host.asleep:
            there.pump.received(region, packet)

    @staticmethod
    def _gone(sender: SimNode, region: RegionId, to: NodeKey) -> None:
        sender.input(sender.mesh.relay_gone, region, to, GONE)

    # --- what befalls a relay ---

    def kill(self, region: RegionId) -> None:
        """Its relay dies; its STUN server goes on answering."""
        self.dead.add(region)
        for node in self.by_key.values():
            self.cut(node, region)

    def restarts(self, region: RegionId, reconnect_in: float) -> None:
        """It asks its clients to come back."""
        for node in self.by_key.values():
            if region in node.open_relays:
                node.input(node.mesh.relay_restarting, region, reconnect_in)

    def revive(self, region: RegionId) -> None:
        self.dead.discard(region)

    def cut(self, node: SimNode, region: RegionId) -> None:
        if region in node.open_relays:
            node.open_relays.discard(region)
            node.input(node.mesh.relay_down, region, "connection reset")

    # --- STUN ---

    def _stun_server(self, region: RegionId) -> None:
        host = Host(f"stun-{region}", relay_ip(region), IPv6Address(f"2001:db8:ffff::{region:x}"))
        self.stun_hosts[region] = self._network.add(host)
        self.stun_addresses |= {Endpoint(ip, STUN_PORT) for ip in (host.v4, host.v6) if ip is not None}

        def answer(source: Endpoint, packet: bytes) -> None:
            try:
                transaction_id = stun.parse_binding_request(packet)
            except WireError:
                return
            self.seen.add(source)
            self._network.send(host, STUN_PORT, source, stun.binding_success(transaction_id, source))

        host.sockets[STUN_PORT] = answer


def relay_ip(region: int) -> IPv4Address:
    return IPv4Address(f"203.0.113.{region}")


def derp_map(regions: int) -> DERPMap:
    held: dict[int, DERPRegion | None] = {
        number: DERPRegion(
            region_id=number,
            region_code=f"r{number}",
            region_name=f"Region {number}",
            nodes=[
                DERPNode(
                    name=f"{number}a",
                    region_id=number,
                    host_name=f"relay{number}.example",
                    ipv4=str(relay_ip(number)),
                    ipv6=f"2001:db8:ffff::{number:x}",
                )
            ],
        )
        for number in range(1, regions + 1)
    }
    return DERPMap(regions=held)
