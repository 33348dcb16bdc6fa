"""One machine of the simulation and its process: the daemon's `Mesh` core, a stub pump, a clock of its own.

Room: testing. What the core asks for is performed here as the daemon's engine does it.
"""

from __future__ import annotations

import errno
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from random import Random
from typing import Any

from ginnel.core.node import actions as act
from ginnel.core.node.endpoints import LocalAddress
from ginnel.core.node.mesh import Mesh
from ginnel.core.node.netmap import NetMap, apply_frame, first_frame
from ginnel.core.node.punch_rules import probing_allowed
from ginnel.testing.clock import VirtualClock
from ginnel.testing.control import Control, without_versions
from ginnel.testing.conversation import ANSWER, QUESTION
from ginnel.testing.inner import Inner
from ginnel.testing.network import Host, Network
from ginnel.testing.notices import Notices
from ginnel.testing.perform import perform
from ginnel.testing.pump import MAGIC, StubPump
from ginnel.testing.relay import RelayNet
from ginnel.testing.sides import SideSockets
from ginnel.testing.watch import Watch
from ginnel.wire import disco, stun
from ginnel.wire.tailcfg import MapResponse
from ginnel.words import DiscoPrivate, Endpoint, Instant, NodeKey, NodePrivate, RegionId, WallTime

LONG_SLEEP = 600.0  # after which the daemon takes its network for another one
WALL = WallTime(1_800_000_000.0)


@dataclass(frozen=True, slots=True)
class World:
    """What all nodes share."""

    clock: VirtualClock
    random: Random
    network: Network
    relays: RelayNet
    control: Control
    watch: Watch


class SimNode:
    """`process` counts its starts. `rate`: seconds of its own clock in one of the world's. `static_endpoints`: as the
    configuration names them. `punches`: it is a ginnel node of today, to itself and to others."""

    def __init__(
        self,
        world: World,
        name: str,
        number: int,
        host: Host,
        port: int,
        *,
        rate: float = 1.0,
        static_endpoints: Sequence[Endpoint] = (),
        punches: bool = True,
    ) -> None:
        self.world = world
        self.name = name
        self.number = number
        self.host = host
        self.port = port
        self.key = NodePrivate(world.random.randbytes(32))
        self.public = self.key.public()
        self.address = f"100.64.{number // 250}.{number % 250 + 1}"
        self.process = 0
        self.pump: StubPump
        self.rate = rate
        self.static_endpoints = tuple(static_endpoints)
        self.punches = punches
        self.metered = False
        self.delivered: Counter[str] = Counter()
        self.last_delivery: dict[str, Instant] = {}
        self.listeners: dict[int, Callable[[Inner], None]] = {}
        self.on_delivery: Callable[[SimNode, Inner], None] | None = None
        self._slept = 0.0
        self._latest = Instant(float("-inf"))
        self._planned: Instant | None = None
        world.relays.by_key[self.public] = self
        world.control.by_address[self.address] = self
        self.start()

    # --- its process ---

    def start(self) -> None:
        """A new process: the same node key, another disco key, no session, nothing known."""
        world = self.world
        self.process += 1
        if self.process > 1:
            self.pump.stop()
        disco_key = DiscoPrivate(world.random.randbytes(32))
        self.mesh = Mesh(disco_key, world.random.randbytes, static_endpoints=self.static_endpoints)
        self.netmap = NetMap()
        self.open_relays: set[RegionId] = set()
        self.relay_queues: dict[RegionId, deque[tuple[NodeKey, bytes]]] = {}
        self.health: dict[str, str] = {}
        self.pings: list[act.PingAnswered | act.PingFailed] = []
        self.reports: list[act.ReportToControl] = []
        self.netchecks: list[act.NetcheckDone] = []
        self.pump = StubPump(
            self.public,
            self.process,
            world.clock,
            Notices(self),
            send_udp=self.send_udp,
            send_relay=self.send_relay,
            deliver=self._deliver,
        )
        self.sides = SideSockets(self)
        self.heard: set[Endpoint] = set()
        self._planned = None
        process = self.process
        self.host.sockets = {self.port: lambda source, packet: self._arrived(process, source, packet)}
        self.input(self.mesh.interfaces_changed, self._local_addresses())
        self.input(self.mesh.port_bound, *self._bound())
        self.input(self.mesh.set_node_key, self.key)
        self.mesh.metered_changed(self.metered)
        world.control.join(self, disco_key.public())

    def _local_addresses(self) -> list[LocalAddress]:
        host, found = self.host, list[LocalAddress]()
        if isinstance(host.v4, IPv4Address):
            found.append(LocalAddress("eth0", IPv4Interface((host.v4, 24))))
        if host.v6 is not None:
            found.append(LocalAddress("eth0", IPv6Interface((str(host.v6), 64))))
        return found

    def _bound(self) -> tuple[int, int, int]:
        """Sockets of both families, whatever addresses there are: they are bound to any."""
        return self.port, self.port, self.port

    def network_changed(self) -> None:
        """The machine is in another network, and the process is told of it."""
        self.input(self.mesh.interfaces_changed, self._local_addresses())
        self.input(self.mesh.link_changed, True)

    def pays_by_the_byte(self, metered: bool) -> None:
        """The way out is a modem, or no longer one."""
        self.metered = metered
        self.mesh.metered_changed(metered)

    def probing_forbidden(self) -> str:
        """Why it may try no ports that nobody named, as far as it has heard; "": it may."""
        if self.metered:
            return "by a modem"
        return "" if probing_allowed(self.netmap.self_node) else "against policy"

    def sleep(self) -> None:
        self.host.asleep = True

    def wake_up(self, slept: float) -> None:
        """Its own clock did not see the time that passed; its connections are gone, and after a long sleep it looks at
        the network anew."""
        self.host.asleep = False
        self._slept += slept * self.rate
        self._planned = None
        for region in sorted(self.open_relays):
            self.world.relays.cut(self, region)
        if slept >= LONG_SLEEP:
            self.input(self.mesh.link_changed, True)
        self.later(2 * self.world.control.leg, self.world.control.whole_map, self)
        self._plan()

    # --- time ---

    @property
    def now(self) -> Instant:
        """By its own clock, which drifts and stands still in its sleep."""
        self._latest = max(self._latest, Instant(self.world.clock.now * self.rate - self._slept))
        return self._latest

    def _plan(self) -> None:
        at = self.mesh.next_timeout()
        if at is None or (self._planned is not None and self._latest <= self._planned <= at):
            return
        self._planned = at
        self.world.clock.at((at + self._slept) / self.rate, self._tick, at, self.process, self._slept)

    def _tick(self, at: Instant, process: int, slept: float) -> None:
        if self._planned != at or self.process != process or self._slept != slept or self.host.asleep:
            return
        self._planned = None
        self._latest = max(self._latest, at)  # the way to the world's time and back may have rounded it down
        self.perform(self.mesh.tick(self.now))

    def later(self, delay: float, event: Callable[..., object], *args: Any) -> None:
        """After a delay, if the process still runs then."""
        self.world.clock.after(delay, self._if_same, self.process, event, args)

    def _if_same(self, process: int, event: Callable[..., object], args: tuple[Any, ...]) -> None:
        if self.process == process:
            event(*args)

    # --- what comes in ---

    def input(self, entry: Callable[..., list[act.Action]], *args: Any) -> None:
        """Hand something to the core and do what it says. A sleeping machine hears nothing."""
        if not self.host.asleep:
            self.perform(entry(*args, self.now))

    def input_aside(self, entry: Callable[..., list[act.Action]], socket: int, *args: Any) -> None:
        """The same for what concerns a side socket."""
        if not self.host.asleep:
            self.perform(entry(*args, self.now, socket))

    def _arrived(self, process: int, source: Endpoint, packet: bytes) -> None:
        if self.process != process:
            return
        if disco.is_disco(packet):
            self.heard.add(source)
            self.input(self.mesh.disco_received, source, packet)
        elif stun.is_stun(packet):
            self.input(self.mesh.stun_received, source, packet)
        elif packet.startswith(MAGIC):
            self.pump.received(source, packet)

    def first_frame(self, frame: MapResponse) -> None:
        if self.host.asleep:
            return
        self.netmap, change = first_frame(self.netmap, self._understood(frame), WALL)
        self.input(self.mesh.map_changed, self.netmap, change)
        self.input(self.mesh.control_changed, True)

    def frame(self, frame: MapResponse) -> None:
        if self.netmap.self_node is None or self.host.asleep:
            return  # the whole map comes later
        self.netmap, change = apply_frame(self.netmap, self._understood(frame), WALL)
        self.input(self.mesh.map_changed, self.netmap, change)

    def _understood(self, frame: MapResponse) -> MapResponse:
        return frame if self.punches else without_versions(frame)

    def control_gone(self) -> None:
        self.input(self.mesh.control_changed, False)

    # --- what the core asks for ---

    def perform(self, actions: Sequence[act.Action]) -> None:
        for action in actions:
            perform(self, action)
        self._plan()

    def rebind(self, port: int) -> None:
        """The port that is in use already keeps its sockets."""
        if port and port != self.port:
            self.host.sockets[port] = self.host.sockets.pop(self.port)
            self.port = port
        self.input(self.mesh.port_bound, *self._bound())

    # --- packets ---

    def send_udp(self, to: Endpoint, packet: bytes, socket: int = 0, ttl: int = 0) -> None:
        self.world.watch.udp(self, to, packet, socket, ttl)
        if socket:
            self.sides.send(socket, to, packet, ttl)
        elif not self.world.network.send(self.host, self.port, to, packet):
            self.later(0.0, self.unsendable, to, errno.ENETUNREACH)

    def unsendable(self, to: Endpoint, error: int, socket: int = 0) -> None:
        self.input_aside(self.mesh.unsendable, socket, to, error)

    def send_relay(self, region: RegionId, to: NodeKey, packet: bytes) -> bool:
        self.world.watch.relayed(self, region, to, packet)
        return self.world.relays.send(self, region, to, packet)

    # --- the application ---

    def send(self, to: SimNode, body: bytes, *, port: int, source_port: int) -> None:
        """A UDP packet into the tunnel, from here to a port of another node."""
        self.world.watch.asked(self, to, source_port, port)
        self.pump.send(to.public, Inner(self.address, source_port, to.address, port, body))

    def _deliver(self, source: NodeKey, inner: Inner) -> None:
        sender = self.world.relays.by_key[source]
        self.world.watch.delivered(self, sender, inner)
        self.delivered[sender.name] += 1
        self.last_delivery[sender.name] = self.world.clock.now
        if inner.body == QUESTION:
            self.world.watch.said(self, sender, inner.port, inner.source_port)
            self.pump.send(source, inner.answer(ANSWER))
        elif (listener := self.listeners.get(inner.port)) is not None:
            listener(inner)
        if self.on_delivery is not None:
            self.on_delivery(self, inner)
