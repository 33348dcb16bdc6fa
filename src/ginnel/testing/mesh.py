"""A whole mesh in one process: nodes with the daemon's own cores, a control server, relays, NATs, one seed.

Room: testing.

    mesh = SimMesh(seed=7)
    alice, bob = mesh.node("alice", EASY), mesh.node("bob", EASY)
    mesh.clock.run(2.0)
    mesh.talk("alice", "bob")
    assert mesh.clock.run_until(lambda: mesh.direct("alice", "bob"), limit=1.0)
"""

from __future__ import annotations

import errno
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from random import Random

import msgspec

from ginnel.core.node import actions as act
from ginnel.core.node.endpoints import LocalAddress
from ginnel.core.node.mesh import Mesh
from ginnel.core.node.netmap import NetMap, apply_frame, first_frame
from ginnel.testing.clock import VirtualClock
from ginnel.testing.nat import Firewall, Nat, NatKind
from ginnel.testing.network import Host, Network
from ginnel.testing.pump import MAGIC, StubPump
from ginnel.wire import disco, stun
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import (
    DERPMap,
    DERPNode,
    DERPRegion,
    FilterRule,
    MapResponse,
    NetPortRange,
    Node,
    PeerChange,
)
from ginnel.words import DiscoPrivate, Endpoint, Instant, NodeKey, NodePrivate, RegionId, WallTime

PORT = 41641
WALL = WallTime(1_800_000_000.0)
ALLOW_ALL = FilterRule(src_ips=["*"], dst_ports=[NetPortRange(ip="*")])
RELAY_QUEUE = 32  # packets that wait for a region being dialed, the oldest go first
ESTABLISHED_IN = 3  # relay legs until a relay connection stands


@dataclass(slots=True)
class SimNode:
    """One machine and its process; `process` counts its starts."""

    name: str
    number: int
    host: Host
    key: NodePrivate
    mesh: Mesh
    pump: StubPump
    netmap: NetMap = field(default_factory=NetMap)
    process: int = 1
    open_relays: set[RegionId] = field(default_factory=set)
    relays_blocked: bool = False
    relay_queues: dict[RegionId, deque[tuple[NodeKey, bytes]]] = field(default_factory=dict)
    delivered: Counter[str] = field(default_factory=Counter)
    last_delivery: dict[str, Instant] = field(default_factory=dict)
    health: dict[str, str] = field(default_factory=dict)
    pings: list[act.PingAnswered | act.PingFailed] = field(default_factory=list)
    reports: list[act.ReportToControl] = field(default_factory=list)
    netchecks: list[act.NetcheckDone] = field(default_factory=list)
    woken_at: Instant | None = None

    @property
    def public(self) -> NodeKey:
        return self.key.public()


class SimMesh:
    """`regions`: that many relays, each with a STUN server of its own address. `latency`: one way, between hosts;
    `relay_leg`: from a host to a relay. `trace`: a line for each thing that a node does."""

    def __init__(
        self,
        seed: int,
        *,
        regions: int = 1,
        latency: float = 0.02,
        jitter: float = 0.002,
        loss: float = 0.0,
        relay_leg: float = 0.02,
    ) -> None:
        self.seed = seed
        self.random = Random(seed)  # noqa: S311 - a simulation must be repeatable
        self.clock = VirtualClock()
        self.network = Network(self.clock, self.random, latency=latency, jitter=jitter, loss=loss)
        self.nodes: dict[str, SimNode] = {}
        self.trace: list[str] = []
        self.probes: Counter[tuple[str, Endpoint]] = Counter()
        self.derp_map = _derp_map(regions)
        self.dead_regions: set[RegionId] = set()
        self._relay_leg = relay_leg
        self._by_key: dict[NodeKey, SimNode] = {}
        self._known: dict[int, Node] = {}
        for region in range(1, regions + 1):
            self._stun_server(_relay_ip(region))

    # --- building ---

    def node(
        self,
        name: str,
        nat: NatKind | None = None,
        *,
        behind: Nat | None = None,
        port: int = PORT,
        stateful_firewall: bool = False,
        forward: bool = False,
        v4: bool = True,
        v6: bool = False,
    ) -> SimNode:
        """A machine that starts now. `forward`: its router lets the fixed port in. `behind`: a NAT shared with others.
        The port is random when it is 0, as it is without configuration."""
        number = len(self.nodes) + 1
        wanted = port or self.random.randrange(20000, 60000)
        inside = IPv4Address(f"10.0.{number // 200}.{number % 200 + 1}")
        outside = IPv4Address(f"198.51.{100 + number // 200}.{number % 200 + 1}")
        box = behind
        if box is None and nat is not None:
            forwards = {wanted: Endpoint(inside, wanted)} if forward else None
            box = Nat(nat, outside, self.random, forwards)
        host = Host(
            name,
            (inside if box is not None else outside) if v4 else None,
            IPv6Address(f"2001:db8:{number:x}::1") if v6 else None,
            box,
            Firewall(stateful=stateful_firewall),
        )
        self.network.add(host)
        key = NodePrivate(self.random.randbytes(32))
        node = self._start(
            SimNode.__new__(SimNode), name=name, number=number, host=host, key=key, port=wanted, process=1
        )
        self.nodes[name] = node
        self._by_key[node.public] = node
        return node

    def _start(
        self, node: SimNode, *, name: str, number: int, host: Host, key: NodePrivate, port: int, process: int
    ) -> SimNode:
        private = DiscoPrivate(self.random.randbytes(32))
        mesh = Mesh(private, self.random.randbytes)
        notices = _Notices(self, node)
        pump = StubPump(
            key.public(),
            process,
            self.clock,
            notices,
            send_udp=lambda to, packet: self._send_udp(node, to, packet),
            send_relay=lambda region, to, packet: self._send_relay(node, region, to, packet),
            deliver=lambda source, payload: self._delivered(node, source, payload),
        )
        SimNode.__init__(node, name, number, host, key, mesh, pump, process=process)
        host.sockets = {port: lambda source, packet: self._arrived(node, process, source, packet)}
        now = self.clock.now
        local = [ip for ip in (host.v4, host.v6) if ip is not None]
        addresses = [
            LocalAddress("eth0", IPv4Interface((ip, 24)) if isinstance(ip, IPv4Address) else IPv6Interface((ip, 64)))
            for ip in local
        ]
        self.perform(node, mesh.interfaces_changed(addresses, now))
        self.perform(node, mesh.port_bound(port if host.v4 else 0, port if host.v6 else 0, port, now))
        self.perform(node, mesh.set_node_key(key, now))
        self._join(node, private)
        return node

    def restart(self, name: str) -> SimNode:
        """The process is killed and comes up anew: the same node key, another disco key, no session."""
        node = self.nodes[name]
        port = next(iter(node.host.sockets))
        return self._start(
            node,
            name=name,
            number=node.number,
            host=node.host,
            key=node.key,
            port=port,
            process=node.process + 1,
        )

    def move(self, name: str, nat: NatKind | None) -> None:
        """The machine comes up in another network; the process goes on and is told of it."""
        node = self.nodes[name]
        inside = IPv4Address(f"10.9.{node.number // 200}.{node.number % 200 + 1}")
        outside = IPv4Address(f"192.0.2.{node.number % 200 + 1}")
        box = Nat(nat, outside, self.random) if nat is not None else None
        v4 = inside if box is not None else outside
        self.network.move(node.host, v4, box)
        now = self.clock.now
        address = LocalAddress("eth0", IPv4Interface((v4, 24)))
        self.perform(node, node.mesh.interfaces_changed([address], now))
        self.perform(node, node.mesh.link_changed(True, now))

    # --- control ---

    def _join(self, node: SimNode, private: DiscoPrivate) -> None:
        """The first map comes after a round trip; the others hear of the node at the same time."""
        address = f"100.64.{node.number // 250}.{node.number % 250 + 1}/32"
        before = self._known.get(node.number)
        entry = Node(
            id=node.number,
            stable_id=f"n{node.number}",
            name=f"{node.name}.tail.example.",
            user=1,
            key=node.public,
            addresses=[address],
            disco_key=private.public(),
            home_derp=before.home_derp if before is not None else 0,
            endpoints=before.endpoints if before is not None else None,
            hostinfo={},
        )
        self._known[node.number] = entry

        def deliver() -> None:
            peers = [peer for number, peer in self._known.items() if number != node.number]
            frame = MapResponse(
                node=entry, derp_map=self.derp_map, peers=peers or None, packet_filters={"base": [ALLOW_ALL]}
            )
            node.netmap, change = first_frame(node.netmap, frame, WALL)
            self.perform(node, node.mesh.map_changed(node.netmap, change, self.clock.now))

        self._later(node, 2 * self._relay_leg, deliver)
        if before is None:
            self._tell(node, MapResponse(peers_changed=[entry]))
        else:
            self._tell(node, MapResponse(peers_changed_patch=[_patch(node, disco_key=entry.disco_key)]))

    def _reported(self, node: SimNode, report: act.ReportToControl) -> None:
        """A lite update: first the home region to everybody, right behind it the endpoints."""
        node.reports.append(report)
        endpoints = [str(endpoint) for endpoint in report.endpoints]
        home = report.net_info.preferred_derp
        self._known[node.number] = msgspec.structs.replace(
            self._known[node.number], home_derp=home, endpoints=endpoints
        )
        self._tell(node, MapResponse(peers_changed_patch=[_patch(node, derp_region=home)]))
        self._tell(node, MapResponse(peers_changed_patch=[_patch(node, endpoints=endpoints)]))

    def _tell(self, about: SimNode, frame: MapResponse) -> None:
        for node in self.nodes.values():
            if node is not about:
                self._later(node, 2 * self._relay_leg, lambda node=node: self._frame(node, frame))

    def _frame(self, node: SimNode, frame: MapResponse) -> None:
        if node.netmap.self_node is None:
            return
        node.netmap, change = apply_frame(node.netmap, frame, WALL)
        self.perform(node, node.mesh.map_changed(node.netmap, change, self.clock.now))

    # --- what a node does ---

    def perform(self, node: SimNode, actions: Sequence[act.Action]) -> None:
        for action in actions:
            match action:
                case act.SendUdp(to, packet):
                    self._note(node, f"udp {to} {len(packet)}")
                    if disco.is_disco(packet):
                        self.probes[node.name, to] += 1
                    self._send_udp(node, to, packet)
                case act.SendRelay(region, to, packet):
                    self._note(node, f"relay {region} {len(packet)}")
                    self._send_relay(node, region, to, packet)
                case act.SetPeer(peer, _):
                    node.pump.set_peer(peer)
                case act.ResetPeer(peer):
                    node.pump.reset_peer(peer)
                case act.RemovePeer(peer):
                    node.pump.remove_peer(peer)
                case act.Steer(peer, endpoint, region):
                    self._note(node, f"steer {peer.short()} {endpoint} {region}")
                    node.pump.steer(peer, endpoint, region)
                case act.RelayOpen(region):
                    self._dial(node, region)
                case act.RelayClose(region):
                    node.open_relays.discard(region)
                case act.ReportToControl():
                    self._later(node, self._relay_leg, lambda report=action: self._reported(node, report))
                case act.MeasureHttps(region):
                    seconds = None if node.relays_blocked or region in self.dead_regions else 2 * self._relay_leg
                    self._later(
                        node,
                        ESTABLISHED_IN * self._relay_leg,
                        lambda region=region, seconds=seconds: self.perform(
                            node, node.mesh.latency_measured(region, seconds, self.clock.now)
                        ),
                    )
                case act.Rebind(port):
                    self.perform(node, node.mesh.port_bound(port, port if node.host.v6 else 0, port, self.clock.now))
                case act.PingAnswered() | act.PingFailed():
                    node.pings.append(action)
                case act.NetcheckDone():
                    node.netchecks.append(action)
                case act.Health(code, text):
                    node.health.pop(code, None)
                    if text is not None:
                        node.health[code] = text
                case _:
                    pass  # filters, addresses and relay preferences change nothing here
        self._wake(node)

    def _wake(self, node: SimNode) -> None:
        at = node.mesh.next_timeout()
        if at is None or (node.woken_at is not None and self.clock.now <= node.woken_at <= at):
            return
        node.woken_at = at
        process = node.process

        def wake() -> None:
            if node.process != process or node.woken_at != at:
                return
            node.woken_at = None
            self.perform(node, node.mesh.tick(self.clock.now))

        self.clock.at(at, wake)

    def _later(self, node: SimNode, delay: float, event: object) -> None:
        """After a delay, if the process still runs then."""
        process = node.process
        assert callable(event)
        self.clock.after(delay, lambda: event() if node.process == process else None)

    def _note(self, node: SimNode, line: str) -> None:
        self.trace.append(f"{self.clock.now:.6f} {node.name} {line}")

    # --- packets ---

    def _send_udp(self, node: SimNode, to: Endpoint, packet: bytes) -> None:
        port = next(iter(node.host.sockets))
        if not self.network.send(node.host, port, to, packet):
            self._later(
                node,
                0.0,
                lambda: self.perform(node, node.mesh.unsendable(to, errno.ENETUNREACH, self.clock.now)),
            )

    def _arrived(self, node: SimNode, process: int, source: Endpoint, packet: bytes) -> None:
        if node.process != process:
            return
        if disco.is_disco(packet):
            self.perform(node, node.mesh.disco_received(source, packet, self.clock.now))
        elif stun.is_stun(packet):
            self.perform(node, node.mesh.stun_received(source, packet, self.clock.now))
        elif packet.startswith(MAGIC):
            node.pump.received(source, packet)

    def _stun_server(self, ip: IPv4Address) -> None:
        last = ip.packed[3]
        host = self.network.add(Host(f"stun-{ip}", ip, IPv6Address(f"2001:db8:ffff::{last:x}")))

        def answer(source: Endpoint, packet: bytes) -> None:
            try:
                transaction_id = stun.parse_binding_request(packet)
            except WireError:
                return
            self.network.send(host, 3478, source, stun.binding_success(transaction_id, source))

        host.sockets[3478] = answer

    def _dial(self, node: SimNode, region: RegionId) -> None:
        def done() -> None:
            if node.relays_blocked or region in self.dead_regions:
                self.perform(node, node.mesh.relay_down(region, "timed out", self.clock.now))
            elif region not in node.open_relays:
                node.open_relays.add(region)
                self.perform(node, node.mesh.relay_up(region, self.clock.now))
                for to, packet in node.relay_queues.pop(region, ()):
                    self._send_relay(node, region, to, packet)

        self._later(node, ESTABLISHED_IN * self._relay_leg, done)

    def kill_region(self, region: int) -> None:
        """Its relay dies; its STUN server goes on answering."""
        self.dead_regions.add(RegionId(region))
        for node in self.nodes.values():
            if RegionId(region) in node.open_relays:
                node.open_relays.discard(RegionId(region))
                self.perform(node, node.mesh.relay_down(RegionId(region), "connection reset", self.clock.now))

    def _send_relay(self, node: SimNode, region: RegionId, to: NodeKey, packet: bytes) -> bool:
        if region not in node.open_relays:
            node.relay_queues.setdefault(region, deque(maxlen=RELAY_QUEUE)).append((to, packet))
            return False

        def arrive() -> None:
            there = self._by_key.get(to)
            if there is None or region not in there.open_relays:
                gone = lambda: self.perform(node, node.mesh.relay_gone(region, to, 1, self.clock.now))  # noqa: E731
                self._later(node, self._relay_leg, gone)
            elif disco.is_disco(packet):
                actions = there.mesh.relayed_disco_received(region, node.public, packet, self.clock.now)
                self.perform(there, actions)
            else:
                there.pump.received(region, packet)

        self.clock.after(2 * self._relay_leg, arrive)
        return True

    # --- the application ---

    def send(self, source: str, to: str, payload: bytes = b"hello") -> None:
        self.nodes[source].pump.send(self.nodes[to].public, payload)

    def talk(self, a: str, b: str, *, every: float = 0.1, for_seconds: float = 3600.0, one_way: bool = False) -> None:
        """Packets from `a` to `b`, each answered by one unless they go `one_way`."""
        end = self.clock.now + for_seconds

        def step() -> None:
            if self.clock.now < end:
                self.send(a, b, b"statement" if one_way else b"question")
                self.clock.after(every, step)

        step()

    def _delivered(self, node: SimNode, source: NodeKey, payload: bytes) -> None:
        name = self._by_key[source].name
        node.delivered[name] += 1
        node.last_delivery[name] = self.clock.now
        if payload == b"question":
            node.pump.send(source, b"answer")

    def ping(self, source: str, to: str, request: int = 1) -> None:
        node = self.nodes[source]
        self.perform(node, node.mesh.ping_requested(request, self.nodes[to].public, 0, self.clock.now))

    # --- questions ---

    def direct(self, a: str, b: str) -> bool:
        """`a` sends to `b` by UDP alone."""
        status = self.nodes[a].mesh.peer_status(self.nodes[b].public, self.clock.now)
        return status is not None and status.cur_addr is not None

    def both_direct(self, a: str, b: str) -> bool:
        return self.direct(a, b) and self.direct(b, a)


@dataclass(frozen=True, slots=True)
class _Notices:
    """The pump's notices, on their way to the core."""

    sim: SimMesh
    node: SimNode

    def sent(self, key: NodeKey) -> None:
        self.sim.perform(self.node, self.node.mesh.sent(key, self.sim.clock.now))

    def received(self, key: NodeKey, by: Endpoint | RegionId) -> None:
        self.sim.perform(self.node, self.node.mesh.received(key, by, self.sim.clock.now))

    def handshake(self, key: NodeKey) -> None:
        self.sim.perform(self.node, self.node.mesh.handshake(key, self.sim.clock.now))

    def relay_wanted(self, region: RegionId) -> None:
        self.sim.perform(self.node, self.node.mesh.relay_wanted(region, self.sim.clock.now))


def _relay_ip(region: int) -> IPv4Address:
    return IPv4Address(f"203.0.113.{region}")


def _derp_map(regions: int) -> DERPMap:
    held: Mapping[int, DERPRegion] = {
        number: DERPRegion(
            region_id=number,
            region_code=f"r{number}",
            region_name=f"Region {number}",
            nodes=[
                DERPNode(
                    name=f"{number}a",
                    region_id=number,
                    host_name=f"relay{number}.example",
                    ipv4=str(_relay_ip(number)),
                    ipv6=f"2001:db8:ffff::{number:x}",
                )
            ],
        )
        for number in range(1, regions + 1)
    }
    return DERPMap(regions=dict(held))


def _patch(node: SimNode, **members: object) -> PeerChange:
    return msgspec.structs.replace(PeerChange(node_id=node.number), **members)
