"""Many clients and a fleet of relays: where each makes its home, and what that costs the relays.

Room: testing. Every client is a daemon's `Mesh` core without peers; the fleet answers its STUN requests and logins
after the time that the distance takes. Regions come, go, die and are drained while the clients watch. Nothing is asked
of the operating system, and a seed gives the same run each time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from random import Random

import msgspec

from ginnel.core.node import actions as act
from ginnel.core.node.endpoints import LocalAddress
from ginnel.core.node.home_region import NO_REGION
from ginnel.core.node.mesh import Mesh
from ginnel.core.node.netmap import NetMap, apply_frame
from ginnel.testing.clock import VirtualClock
from ginnel.wire import stun
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion, MapResponse
from ginnel.words import DiscoPrivate, Endpoint, NodePrivate, RegionId, WallTime

WALL = WallTime(1_800_000_000.0)
FIRST_REGION = 900
LAST_MILE = (0.002, 0.020)  # seconds one way
ACROSS = 0.090  # seconds one way from one end of the world to the other
JITTER = 0.1  # of each round trip, at most
LOGIN_TRIPS = 4  # round trips until a relay is connected: TCP, TLS, upgrade and login
DIAL_LIMIT = 3.0  # seconds until a dial of a dead relay is given up
MAP_SPREAD = 2.0  # seconds in which the server has told everybody of a change
NEARBY = 0.06  # how far from a region its clients live, in the width of the world
PORT = 41641
BEGINNING = 600.0  # seconds in which the clients come, one after the other


@dataclass(slots=True)
class SimRegion:
    """One relay of one region. `logins`, `asked`: how many clients logged in and how many STUN requests came in each
    second."""

    entry: DERPRegion
    place: tuple[float, float]
    alive: bool = True
    silent: bool = False  # dead, and nothing says so
    connected: set[int] = field(default_factory=set)
    logins: Counter[int] = field(default_factory=Counter)
    asked: Counter[int] = field(default_factory=Counter)


class Client:
    """One daemon's core. `moves`: how often its home changed after it had one. `without`: the longest time that it had
    no connection to its home relay, in seconds."""

    __slots__ = (
        "_lost_at",
        "_planned",
        "_told",
        "fleet",
        "last_mile",
        "mesh",
        "moves",
        "number",
        "open",
        "place",
        "without",
    )

    def __init__(self, fleet: Fleet, number: int, place: tuple[float, float], last_mile: float) -> None:
        random = fleet.random
        self.fleet = fleet
        self.number = number
        self.place = place
        self.last_mile = last_mile
        self.moves = 0
        self.without = 0.0
        self.open: set[RegionId] = set()
        self._lost_at: float | None = None
        self._planned = math.inf
        self._told = NO_REGION
        self.mesh = Mesh(DiscoPrivate(random.randbytes(32)), random.randbytes)

    def start(self) -> None:
        address = IPv4Address(0x0A00_0000 + self.number + 1)
        self.input(self.mesh.interfaces_changed, [LocalAddress("eth0", IPv4Interface(f"{address}/8"))])
        self.input(self.mesh.port_bound, PORT, 0, PORT)
        self.input(self.mesh.set_node_key, NodePrivate(self.fleet.random.randbytes(32)))
        self.input(self.mesh.control_changed, True)
        self.input(self.mesh.map_changed, *self.fleet.netmap)

    @property
    def home(self) -> RegionId:
        return self._told

    def looks_again(self) -> None:
        """What a node in use does each 23 s: it measures the nearest regions."""
        self.input(self.mesh.link_changed, False)

    # --- its shell ---

    def input(self, what: Callable[..., list[act.Action]], *args: object) -> None:
        now = self.fleet.clock.now
        for action in what(*args, now):
            self._perform(action)
        self._plan()

    def _plan(self) -> None:
        due = self.mesh.next_timeout()
        if due is not None and due < self._planned:
            self._planned = due
            self.fleet.clock.at(due, self._woken, due)

    def _woken(self, planned: float) -> None:
        if planned == self._planned:
            self._planned = math.inf
            self.input(self.mesh.tick)

    def _perform(self, action: act.Action) -> None:
        match action:
            case act.SendUdp(to, packet):
                self.fleet.stun_asked(self, to, packet)
            case act.RelayOpen(region):
                self.fleet.dialed(self, region)
            case act.RelayMove(region):
                self.fleet.moved(self, region)
            case act.RelayClose(region):
                self.fleet.left(self, region)
            case act.RelayPrefer(region):
                self.moves += self._told not in (NO_REGION, region)
                self._told = region
                self.connectivity()
            case _:
                pass

    def connectivity(self) -> None:
        """How long it has been without its home relay."""
        now = self.fleet.clock.now
        if self._told in self.open:
            if self._lost_at is not None:
                self.without = max(self.without, now - self._lost_at)
            self._lost_at = None
        elif self._lost_at is None:
            self._lost_at = now

    def cut_off(self) -> bool:
        return self._lost_at is not None


class Fleet:
    """`regions` relays and `clients` cores, who begin one after the other in the first ten minutes. All maps that they
    get are `derp_map`'s. Clients do not notice each other, so a crowd can be played in `share`s: the same world, other
    people, and what relays count is added up."""

    def __init__(self, seed: int, *, clients: int, regions: int, share: int = 0) -> None:
        self._places = Random(seed)  # noqa: S311  it repeats a run
        self.random = Random(f"{seed} {share}")  # noqa: S311
        self.clock = VirtualClock()
        self.regions: dict[RegionId, SimRegion] = {}
        self._by_address: dict[IPv4Address, RegionId] = {}
        for _ in range(regions):
            self._make_region()
        self.netmap = apply_frame(NetMap(), MapResponse(derp_map=self.derp_map()), WALL)
        self.clients = [self._make_client(number) for number in range(clients)]

    # --- the world ---

    def _make_region(self) -> RegionId:
        number = RegionId(FIRST_REGION + len(self._by_address))
        address = IPv4Address(0xCB00_7100 + len(self._by_address) + 1)  # 203.0.113.x
        node = DERPNode(name=f"{number}a", region_id=number, host_name=f"derp{number}a.example", ipv4=str(address),
                        ipv6="none")  # fmt: skip
        entry = DERPRegion(region_id=number, region_code=f"r{number}", region_name=f"Region {number}", nodes=[node])
        self.regions[number] = SimRegion(entry, (self._places.random(), self._places.random()))
        self._by_address[address] = number
        return number

    def _make_client(self, number: int) -> Client:
        """Most people live near a relay, some anywhere."""
        random = self.random
        near = random.choice(list(self.regions.values())).place
        place = (random.random(), random.random())
        if random.random() < 0.8:
            place = (random.gauss(near[0], NEARBY), random.gauss(near[1], NEARBY))
        client = Client(self, number, place, random.uniform(*LAST_MILE))
        self.clock.after(random.uniform(0, BEGINNING), client.start)
        return client

    def trip(self, client: Client, region: RegionId) -> float:
        """Seconds there and back, this time."""
        way = client.last_mile + ACROSS * math.dist(client.place, self.regions[region].place)
        return 2 * way * (1 + self.random.uniform(0, JITTER))

    def derp_map(self) -> DERPMap:
        return DERPMap(regions={number: region.entry for number, region in self.regions.items()})

    # --- what clients do ---

    def stun_asked(self, client: Client, to: Endpoint, packet: bytes) -> None:
        number = self._by_address.get(to.ip) if isinstance(to.ip, IPv4Address) else None
        region = self.regions.get(number) if number is not None else None
        if number is None or region is None or not region.alive:
            return
        trip = self.trip(client, number)
        region.asked[int(self.clock.now + trip / 2)] += 1
        mapped = Endpoint(IPv4Address(0x6440_0000 + client.number), PORT)
        answer = stun.binding_success(stun.parse_binding_request(packet), mapped)
        self.clock.after(trip, client.input, client.mesh.stun_received, to, answer)

    def dialed(self, client: Client, number: RegionId) -> None:
        self.clock.after(self._login_time(client, number), self._answered, client, number)

    def moved(self, client: Client, number: RegionId) -> None:
        """Another connection to a region that is connected."""
        self.clock.after(self._login_time(client, number), self._settled, client, number)

    def _login_time(self, client: Client, number: RegionId) -> float:
        region = self.regions.get(number)
        if region is None or region.silent:
            return DIAL_LIMIT
        return (LOGIN_TRIPS if region.alive else 1) * self.trip(client, number)

    def _settled(self, client: Client, number: RegionId) -> None:
        region = self.regions.get(number)
        if number not in client.open:
            return
        if region is None or not region.alive:
            client.input(client.mesh.relay_stayed, number)
            return
        region.logins[int(self.clock.now)] += 1
        client.input(client.mesh.relay_up, number)

    def _answered(self, client: Client, number: RegionId) -> None:
        region = self.regions.get(number)
        if region is None or not region.alive:
            client.input(client.mesh.relay_down, number, "cannot connect")
            return
        region.logins[int(self.clock.now)] += 1
        region.connected.add(client.number)
        client.open.add(number)
        client.connectivity()
        client.input(client.mesh.relay_up, number)

    def left(self, client: Client, number: RegionId) -> None:
        client.open.discard(number)
        client.connectivity()
        if number in self.regions:
            self.regions[number].connected.discard(client.number)

    # --- what befalls the fleet ---

    def add_region(self) -> RegionId:
        number = self._make_region()
        self._tell()
        return number

    def kill(self, number: RegionId, *, silent: bool = True) -> None:
        """The relay and its STUN server are gone; the map does not know yet. `silent`: so is the machine; else it
        refuses connections."""
        region = self.regions[number]
        region.alive, region.silent = False, silent
        for client in [self.clients[each] for each in sorted(region.connected)]:
            region.connected.discard(client.number)
            client.open.discard(number)
            client.connectivity()
            client.input(client.mesh.relay_down, number, "connection reset")

    def revive(self, number: RegionId) -> None:
        """The relay runs again."""
        self.regions[number].alive, self.regions[number].silent = True, False

    def remove(self, number: RegionId) -> None:
        """The map does without it; who is still connected is cut when the relay ends, as is its STUN server."""
        if self.regions[number].alive:
            self.kill(number)
        del self.regions[number]
        self._tell()

    def drain(self, number: RegionId) -> None:
        """Nobody's home any more, yet still there for who has not moved."""
        region = self.regions[number]
        region.entry = msgspec.structs.replace(region.entry, no_measure_no_home=True)
        self._tell()

    def _tell(self) -> None:
        before, _ = self.netmap
        self.netmap = apply_frame(before, MapResponse(derp_map=self.derp_map()), WALL)
        for client in self.clients:
            self.clock.after(self.random.uniform(0, MAP_SPREAD), client.input, client.mesh.map_changed, *self.netmap)

    def some_look_again(self, share: float, seconds: float, every: float = 23.0) -> None:
        """For so long that share of the clients is in use, and so measures again and again."""
        for client in self.random.sample(self.clients, int(share * len(self.clients))):
            start = self.random.uniform(0, every)
            for turn in range(int((seconds - start) / every) + 1):
                self.clock.after(start + turn * every, client.looks_again)

    # --- what can be asked of it ---

    def homes(self) -> Counter[RegionId]:
        return Counter(client.home for client in self.clients)

    def cut_off(self) -> int:
        """Clients without a connection to a home relay."""
        return sum(client.cut_off() for client in self.clients)

    def far_from_home(self, excess: float = 0.030) -> int:
        """Clients whose home is farther by so many seconds there and back than the nearest region that may be one."""
        return sum(self._detour(client) > excess for client in self.clients)

    def _detour(self, client: Client) -> float:
        def way(number: RegionId) -> float:
            return 2 * ACROSS * math.dist(client.place, self.regions[number].place)

        open_to_all = [n for n, r in self.regions.items() if r.alive and not r.entry.no_measure_no_home]
        if client.home not in self.regions:
            return math.inf
        return way(client.home) - min(map(way, open_to_all))

    def loads(self, since: float) -> dict[RegionId, tuple[Counter[int], Counter[int]]]:
        """Logins and STUN requests by the second, of each relay since then."""
        return {
            number: (_from(region.logins, since), _from(region.asked, since)) for number, region in self.regions.items()
        }

    def forget_measures(self) -> None:
        for client in self.clients:
            client.moves, client.without = 0, 0.0


def _from(counts: Counter[int], since: float) -> Counter[int]:
    return Counter({second: count for second, count in counts.items() if second >= int(since)})
