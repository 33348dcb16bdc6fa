"""A small mesh as an office has it: names by DNS, a coordination server, relays of two regions, alice and bob.

          control   derp-a (fra)   derp-b (nyc, farther)   [derp-c (fra)]   resolver
                \\        |          |                       /
                 internet ------------------------------------
                    |                     |
                 nat-alice             nat-bob
                    |                     |
                  alice                  bob

Room: lab. Relays stand in the map by the operator's hand, so that one which is gone stays there. The server's own relay
is taken out of it: what blocks the server blocks no relay.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import cached_property
from typing import Any

from ginnel.lab import LabError
from ginnel.lab.diagnosis.programs import CONTROL_NAME, Member, NamedServer
from ginnel.lab.diagnosis.resolver import Resolver
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import SERVER
from ginnel.lab.line import Impairment
from ginnel.lab.members import START_LIMIT, answer, ginnel, program, surroundings
from ginnel.lab.mesh import into_tunnel
from ginnel.lab.processes import Process, until
from ginnel.lab.topology import OBSERVER, Host, Topology

ALICE, BOB = "alice", "bob"
FRA, NYC = 910, 911
RELAYS = {"derp-a": (FRA, "fra"), "derp-b": (NYC, "nyc"), "derp-c": (FRA, "fra")}
FARTHER = 0.012  # seconds one way: fra is everybody's home
MEET_LIMIT = 25.0
TELLS_ITSELF = 8.0
LOOK_AGAIN = 0.05  # daemons that are asked have other work


class World:
    """A context. `start` makes the mesh; faults may be there before."""

    def __init__(self, topology: Topology, rng: random.Random, relays: tuple[str, ...], settings: str = "") -> None:
        """settings: of the server, beside those that this mesh needs. All relays stand in the map at first, unless
        `in_map` is changed before the start."""
        self.machines = [host.name for host in topology.hosts if host.name != SERVER]
        hosts = (*topology.hosts, *(Host(name, families=families_of(topology)) for name in relays))
        self.topology = Topology(topology.routers, hosts)
        self.rng, self.relay_names, self.settings = rng, relays, settings
        self.in_map = relays
        self.relay_words: tuple[str, ...] = ()  # further arguments of `relay run`
        self.relays: dict[str, Process] = {}
        self.entries: dict[str, dict[str, Any]] = {}
        self.stack = ExitStack()

    def __enter__(self) -> World:
        with ExitStack() as stack:
            lengths = {"derp-b": Impairment(delay=FARTHER)}
            self.lab = stack.enter_context(Lab(self.topology, lengths))
            public = self.lab.plan.observer[0]
            asked = stack.enter_context(Resolver(self.lab.spaces[OBSERVER], public, self.names()))
            self.resolvers = {OBSERVER: asked}
            for name in self.machines:
                self.ask_resolver(name, self.resolver_beside(name, stack) or public)
            self.ask_resolver(SERVER, public)
            self.stack = stack.pop_all()
        self.server = NamedServer(self.lab, self.settings)
        self.members = {name: Member(self.lab, name) for name in self.machines}
        return self

    def __exit__(self, *why: object) -> None:
        self.stack.close()

    @property
    def alice(self) -> Member:
        return self.members[ALICE]

    @property
    def bob(self) -> Member:
        return self.members[BOB]

    def names(self) -> dict[str, tuple[str, ...]]:
        known = {f"{name}.example": self.addresses(name) for name in self.relay_names}
        return {**known, CONTROL_NAME: self.addresses(SERVER)}

    def addresses(self, name: str) -> tuple[str, ...]:
        return tuple(plan[name] for plan in (self.lab.plan.addresses, self.lab.plan.addresses6) if name in plan)

    def resolver_beside(self, host: str, stack: ExitStack) -> str:
        """The address of the name server in the router next to a host, as homes have it; "" where it has none."""
        for router in self.topology.path_to_internet(host)[:1]:
            address = self.inside(router)
            if router not in self.resolvers:
                made = Resolver(self.lab.spaces[router], address, self.names(), liar=address)
                self.resolvers[router] = stack.enter_context(made)
            return address
        return ""

    def ask_resolver(self, host: str, address: str) -> None:
        (self.lab.directory / host / "etc/resolv.conf").write_text(f"nameserver {address}\n")

    def router(self, host: str) -> str:
        """The box next to a host; LabError where there is none."""
        routers = self.topology.path_to_internet(host)
        if not routers:
            raise LabError(f"{host} has no router of its own")
        return routers[0]

    def inside(self, router: str) -> str:
        """A router's address on its LAN; "" where that has no IPv4."""
        words = self.lab.spaces[router].run(["ip", "-o", "-4", "address", "show", "dev", "lan0"]).split()
        return words[words.index("inet") + 1].partition("/")[0]

    # --- programs ---

    def start(self, *, patient: bool = False) -> None:
        """Relays, server, both daemons; nobody is logged in yet. patient: a daemon that ends is no failure."""
        with ThreadPoolExecutor(4) as pool:
            self.entries = dict(zip(self.relay_names, pool.map(self.start_relay, self.relay_names), strict=True))
            self.put_map(*self.in_map)
            starts = [self.server.start, *(member.start for member in self.members.values())]
            for started in [pool.submit(start) for start in starts]:
                with suppress(*((LabError,) if patient else ())):
                    started.result()

    def put_map(self, *relays: str) -> None:
        """These relays stand in the operator's map from now on; the server reads it again within 10 s."""
        regions = joined([self.entries[name] for name in relays])
        (self.lab.directory / SERVER / "relays.json").write_text(json.dumps({"Regions": regions}))

    def start_relay(self, name: str) -> dict[str, Any]:
        """Its region of the map."""
        region, code = RELAYS[name]
        four, *six = self.addresses(name)
        words = ["--hostname", f"{name}.example", "--ipv4", four, *(word for a in six for word in ("--ipv6", a))]
        argv = [*program("main"), "relay", "run", *words, "--state", self.lab.inside_path("relay")]
        argv += ["--region", str(region), "--json", *self.relay_words]
        self.relays[name] = running = self.lab.start(name, "relay", argv, surroundings())
        line = running.wait_for_line(r"^\{.*\}$", START_LIMIT).group()
        entry: dict[str, Any] = next(iter(json.loads(line).values()))
        entry |= {"RegionCode": code, "RegionName": code.upper()}
        entry["Nodes"][0]["Name"] = f"{region}{name[-1]}"
        return entry

    def join(self) -> None:
        """All log in; alice and bob know each other."""
        self.server.invite  # noqa: B018 asked for once, before two want it
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda member: member.up(self.server.invite), self.members.values()))
        for one, other in ((self.alice, self.bob), (self.bob, self.alice)):
            until(lambda one=one, other=other: self.route(one, other), MEET_LIMIT, f"{one.name} to know {other.name}")  # type: ignore[misc]

    def route(self, one: Member, other: Member) -> bool | None:
        return into_tunnel(self.lab.spaces[one.name], other.address)

    def talk(self) -> None:
        """Packets both ways from now on, small and large ones."""
        for size in ("56", "1200"):
            argv = ["ping", "-n", "-q", "-i", "0.25", "-s", size, self.bob.address]
            self.lab.start(ALICE, f"ping-{size}", argv)

    def settle(self, meets: str, limit: float = 20.0) -> None:
        """Until both ends call the path what it must become; a relayed one is given the time of its first attempts."""
        if not self.sees(lambda: self.ways() == (meets, meets), limit):
            raise LabError(f"waited {limit:g} s for the pair to be {meets}; it is {' and '.join(self.ways())}")

    def ways(self) -> tuple[str, str]:
        return self.alice.way_to(self.bob.address).path, self.bob.way_to(self.alice.address).path

    def sees(self, what: Callable[[], bool], limit: float = TELLS_ITSELF, every: float = LOOK_AGAIN) -> bool:
        """Whether something comes true in time; nobody is blamed when it does not."""
        deadline = time.monotonic() + limit
        while not what():
            if time.monotonic() > deadline:
                return False
            time.sleep(every)
        return True

    # --- what faults are made of ---

    def drop(self, host: str, *matches: str, how: str = "drop") -> None:
        """The box next to a host does not let these packets through any more; each is counted."""
        self.lab.block(self.router(host), *(f"{match} counter {how}" for match in matches))

    def dropped(self, host: str) -> int:
        """Packets that `drop` has met."""
        listed = self.lab.spaces[self.router(host)].run(["nft", "-j", "list", "chain", "ip", "lab", "faults"])
        rules = [entry["rule"] for entry in json.loads(listed)["nftables"] if "rule" in entry]
        return sum(part["counter"]["packets"] for rule in rules for part in rule["expr"] if "counter" in part)

    def redirect(self, host: str, *statements: str) -> None:
        """The box next to a host turns connections round, those that stand as well."""
        router = self.lab.spaces[self.router(host)]
        script = ["table ip strangers {", "chain pre {", "type nat hook prerouting priority dstnat - 1; policy accept;"]
        router.run(["nft", "-f", "-"], "\n".join([*script, *statements, "}", "}", ""]))
        router.run(["conntrack", "-F"])

    def nft(self, host: str, script: str) -> None:
        self.lab.spaces[host].run(["nft", "-f", "-"], script)

    @cached_property
    def control_address(self) -> str:
        return self.lab.addresses[SERVER]

    def admin(self, *words: str) -> str:
        return answer(ginnel(self.lab, SERVER, words[0], *words, "--state", self.server.state), START_LIMIT).strip()


def families_of(topology: Topology) -> tuple[Any, ...]:
    return (4, 6) if topology.has_v6 else (4,)


def joined(regions: list[dict[str, Any]]) -> dict[str, Any]:
    """Relays of one region become its nodes, in order."""
    found: dict[str, Any] = {}
    for entry in regions:
        known = found.setdefault(str(entry["RegionID"]), {**entry, "Nodes": []})
        known["Nodes"] += entry["Nodes"]
    return found
