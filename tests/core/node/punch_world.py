"""Two punchers, a NAT each, a relay and a STUN server between them, under a virtual clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from heapq import heappop, heappush
from random import Random
from typing import Literal

from ginnel.core.node.actions import CloseSides, OpenSides, SendUdp
from ginnel.core.node.path_actions import NEVER
from ginnel.core.node.paths import PathChooser
from ginnel.core.node.peers import Peer
from ginnel.core.node.probe_budget import ProbeBudget
from ginnel.core.node.punch import BEGINS_AFTER, Puncher
from ginnel.core.node.punch_session import Fire, PunchAction, Tell
from ginnel.core.node.scoring import Proven
from ginnel.wire import stun
from ginnel.wire.punch import Punch
from ginnel.wire.tailcfg import Node
from ginnel.words import DiscoPrivate, Endpoint, Instant, NodeKey, RegionId

Kind = Literal["easy", "bare", "random", "sequential", "blocked"]
STUN_SERVERS = [Endpoint.parse("203.0.113.1:3478"), Endpoint.parse("203.0.113.2:3478")]
HOPS_BETWEEN = 5  # routers; a TTL of that or less dies on the way
LEG, RELAY_LEG = 0.02, 0.04
STOLEN_FOR = 30.0
T0 = Instant(1000.0)


class Box:
    """A NAT that filters by address and port. `bare`: what comes uninvited takes the port that it was sent to."""

    def __init__(self, kind: Kind, address: str, random: Random) -> None:
        self.kind = kind
        self.address = Endpoint.parse(f"{address}:1").ip
        self.random = random
        self.next = 30000
        self.outside: dict[tuple[int, Endpoint], int] = {}
        self.inside: dict[tuple[int, Endpoint], int] = {}
        self.stolen: dict[tuple[int, Endpoint], Instant] = {}

    def outward(self, local: int, remote: Endpoint, now: Instant) -> Endpoint:
        port = self.outside.get((local, remote))
        if port is None:
            port = self.outside[local, remote] = self.choose(local, remote, now)
            self.inside[port, remote] = local
        return Endpoint(self.address, port)

    def choose(self, local: int, remote: Endpoint, now: Instant) -> int:
        if self.kind == "sequential":
            self.next += 1
            return self.next
        taken = now < self.stolen.get((local, remote), NEVER) + STOLEN_FOR
        return self.random.randrange(1024, 65536) if self.kind == "random" or taken else local

    def inward(self, port: int, remote: Endpoint, now: Instant) -> int | None:
        local = self.inside.get((port, remote))
        if local is None and self.kind == "bare":
            self.stolen[port, remote] = now
        return local


class Side:
    """One node."""

    def __init__(self, world: World, name: str, kind: Kind, key: bytes, address: str) -> None:
        self.world, self.name = world, name
        self.key = NodeKey(key * 32)
        self.box = Box(kind, address, world.random)
        self.drops: Counter[str] = Counter()
        servers = STUN_SERVERS[: world.stun_servers] if kind != "blocked" else []
        self.puncher = Puncher(world.random.randbytes, lambda: servers, lambda _: self.peer.path.socket, self.drops)
        self.puncher.own_key = self.key
        self.sockets: dict[int, int] = {}
        self.most_open = 0
        self.fired: list[tuple[Instant, Endpoint, int]] = []
        self.told: list[Punch] = []
        self.descriptors = 1000

    def meet(self, other: Side, *, ginnel: bool = True) -> None:
        node = Node(
            id=1,
            stable_id="n1",
            name="n1.",
            user=1,
            key=other.key,
            addresses=["100.64.0.1/32"],
            disco_key=DiscoPrivate(other.key.raw).public(),
            endpoints=[f"{other.box.address}:41641", "10.0.0.7:41641"],
            hostinfo={"IPNVersion": "1.0-ginnel" if ginnel else "1.98.9"},
        )
        self.other = other
        self.peer = Peer(node, PathChooser(other.key, ProbeBudget()), RegionId(1))
        self.peer.path.region = RegionId(1)

    @property
    def direct(self) -> bool:
        return self.peer.path.trusted(self.world.now)

    # --- what the mesh would do ---

    def do(self, actions: Iterable[PunchAction]) -> None:
        for action in actions:
            match action:
                case OpenSides(request, count):
                    self.open(request, count)
                case CloseSides(sockets):
                    for socket in sockets:
                        del self.sockets[socket]
                case SendUdp(server, packet, socket):
                    self.ask(server, packet, socket)
                case Tell(_, message):
                    self.told.append(message)
                    if self.world.relay_carries(message):
                        self.world.after(RELAY_LEG, partial(self.other.hear, message))
                case Fire(_, shot):
                    self.ping(shot.socket, shot.to, shot.ttl)

    def hear(self, message: Punch) -> None:
        self.do(self.puncher.told(self.peer, message, self.world.now))

    def open(self, request: int, count: int) -> None:
        opened = []
        for _ in range(min(count, self.descriptors - len(self.sockets))):
            self.world.numbers += 1
            self.sockets[self.world.numbers] = self.world.random.randrange(32768, 61000)
            opened.append((self.world.numbers, self.sockets[self.world.numbers]))
        self.most_open = max(self.most_open, len(self.sockets))
        self.world.after(0.0, lambda: self.do(self.puncher.opened(request, opened, self.world.now)))

    def ask(self, server: Endpoint, packet: bytes, socket: int) -> None:
        mapped = self.box.outward(self.sockets[socket], server, self.world.now)
        answer = stun.binding_success(stun.parse_binding_request(packet), mapped)

        def answered() -> None:
            self.do(self.puncher.stun_received(server, socket, answer, self.world.now) or [])

        self.world.after(2 * LEG, answered)

    def ping(self, socket: int, to: Endpoint, ttl: int = 0) -> None:
        self.fired.append((self.world.now, to, ttl))
        source = self.box.outward(self.sockets[socket], to, self.world.now)
        if 0 < ttl <= HOPS_BETWEEN or to.ip != self.other.box.address:
            return
        self.world.after(LEG, lambda: self.other.pinged(to.port, source, lambda: self.ponged(socket, to)))

    def pinged(self, port: int, source: Endpoint, pong: Callable[[], None]) -> None:
        local = self.box.inward(port, source, self.world.now)
        socket = next((number for number, held in self.sockets.items() if held == local), None)
        if socket is None:
            return
        self.puncher.heard(socket, self.world.now)
        back = self.box.outward(self.sockets[socket], source, self.world.now)

        def arrive() -> None:
            if self.other.box.inward(source.port, back, self.world.now) is not None:
                pong()

        self.world.after(LEG, arrive)
        if not self.direct:
            self.ping(socket, source)

    def ponged(self, socket: int, endpoint: Endpoint) -> None:
        self.peer.path.ponged(Proven(endpoint, 2 * LEG, socket=socket), self.world.now)
        self.peer.path.received(endpoint, self.world.now)  # data flows as well
        self.look()

    def look(self) -> None:
        self.do(self.puncher.look(self.peer, self.world.now))

    def keep_alive(self) -> None:
        """The heartbeat of a path."""
        if self.direct and self.peer.path.endpoint is not None:
            self.ping(self.peer.path.socket, self.peer.path.endpoint)

    def wants(self) -> None:
        self.peer.path.sent(self.world.now)


class World:
    def __init__(self, a: Kind, b: Kind, seed: int = 1, *, stun_servers: int = 1, ginnel: bool = True) -> None:
        self.random = Random(seed)
        self.stun_servers = stun_servers
        self.now = T0
        self.numbers = 0
        self.relay_carries: Callable[[Punch], bool] = lambda _: True
        self.events: list[tuple[Instant, int, Callable[[], None]]] = []
        self.count = 0
        self.alice = Side(self, "alice", a, b"\x02", "192.0.2.1")
        self.bob = Side(self, "bob", b, b"\x03", "198.51.100.1")
        self.alice.meet(self.bob, ginnel=ginnel)
        self.bob.meet(self.alice, ginnel=ginnel)

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.alice, self.bob

    def after(self, delay: float, event: Callable[[], None]) -> None:
        self.count += 1
        heappush(self.events, (Instant(self.now + delay), self.count, event))

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> float | None:
        """Seconds since T0 when `done`; None: not until then."""
        for side in self.sides:
            side.wants()
        end = Instant(T0 + until)
        look_at = max(self.now, Instant(T0 + BEGINS_AFTER + 0.001))
        while self.now < end:
            if done():
                return self.now - T0
            times = [at for side in self.sides if (at := side.puncher.next_timeout()) is not None]
            times += [self.events[0][0]] if self.events else []
            self.now = min([end, max(self.now, min([*times, look_at]))])
            while self.events and self.events[0][0] <= self.now:
                heappop(self.events)[2]()
            if self.now >= look_at:
                look_at = Instant(self.now + 1.0)
                for side in self.sides:
                    side.wants()
                    side.keep_alive()
                    side.look()
            for side in self.sides:
                side.do(side.puncher.tick(self.now))
        return self.now - T0 if done() else None

    def both_direct(self) -> bool:
        return self.alice.direct and self.bob.direct
