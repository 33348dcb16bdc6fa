"""A lab with a server and its members running in it.

Room: lab.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ginnel.lab import LabError
from ginnel.lab.daemon import OfficialDaemon
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import SERVER
from ginnel.lab.members import UP_LIMIT, GinnelNode, Node, Server, Way, way_in
from ginnel.lab.names import NoNames
from ginnel.lab.namespace import Inside
from ginnel.lab.official_client import OfficialNode, Proxied
from ginnel.lab.processes import until
from ginnel.lab.relay_hosts import STOP_PATIENCE, Relays
from ginnel.lab.scenario import Blocked, Expect, Scenario
from ginnel.lab.talk import OurSide, Pages, Stream, Talk, TheirSide
from ginnel.lab.topology import INTERNET

FIRST_BYTE_LIMIT = 20.0
ROUTE_LIMIT = 10.0
SIDE_BY_SIDE = 2 * (os.cpu_count() or 1)  # programs that start at once


class Mesh:
    """The programs of a scenario. Everything here ends with the lab."""

    def __init__(self, lab: Lab, scenario: Scenario, tell: Callable[[str], None], names: NoNames | None = None) -> None:
        """names: the resolver of official daemons; without one they have none, as all other hosts."""
        self.lab, self.scenario, self.tell, self.names = lab, scenario, tell, names
        self.server = Server(lab)
        patience = STOP_PATIENCE if scenario.relay_event == "stopped" else 0.0
        self.relays = Relays(lab, self.server, scenario.relays, patience)
        self.ours: dict[str, GinnelNode] = {}
        self.official: dict[str, OfficialNode] = {}
        self.daemons: dict[str, OfficialDaemon] = {}

    @property
    def nodes(self) -> dict[str, Node]:
        return {**self.ours, **self.official, **self.daemons}

    def start(self) -> None:
        """The server, our nodes, and then official clients: the library's proxy is told where it leads."""
        daemons = [OfficialDaemon(self.lab, m.name) for m in self.scenario.members if m.client == "official-daemon"]
        self.server.start()
        self.tell(f"server at {self.server.url}")
        self.relays.start()
        ours = [GinnelNode(self.lab, m.name) for m in self.scenario.members if m.client == "ginnel"]
        if ours:
            self.server.invite  # noqa: B018 asked for once, before many want it
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            self.ours = {node.name: node for node in pool.map(self.start_ours, ours)}
            list(pool.map(self.start_official, [m.name for m in self.scenario.members if m.client == "official"]))
            list(pool.map(self.start_daemon, daemons))

    def start_ours(self, node: GinnelNode) -> GinnelNode:
        node.start()
        node.up(self.server.invite)
        self.tell(f"{node.name} is up as {node.address}")
        return node

    def start_daemon(self, daemon: OfficialDaemon) -> None:
        if self.names is not None:
            resolver = f"nameserver {self.lab.plan.observer[0]}\n"
            (self.lab.directory / daemon.name / "etc/resolv.conf").write_text(resolver)
        daemon.start(self.certificate())
        seconds = daemon.up(self.server)
        self.daemons[daemon.name] = daemon
        self.tell(f"{daemon.name} is up as {daemon.address} after {seconds:.2f} s")

    def start_official(self, name: str) -> None:
        official = self.official[name] = OfficialNode(self.lab, name)
        peers = [Proxied(node.address, node.public_key) for node in self.ours.values()]
        official.start(self.server, peers, self.certificate())
        ours = next(iter(self.ours.values()))
        official.known_as(until(lambda: named(ours, name), UP_LIMIT, f"{name} to join"))
        self.tell(f"{name} is up as {official.address}")

    def certificate(self) -> Path:
        """What a client that knows no public CA for the server has to trust."""
        found = sorted((self.lab.directory / SERVER / "state").rglob("*.crt"))
        if not found:
            raise LabError(f"the server made no certificate in {self.lab.directory / SERVER / 'state'}")
        return found[0]

    def talk(self, expect: Expect) -> Talk:
        """The one that speaks first is `expect.a`."""
        official = [name for name in (expect.a, expect.b) if name in self.official]
        if not official:
            return self.stream(expect)
        (theirs,) = official
        ours = expect.a if theirs == expect.b else expect.b
        self.wait_for_route(ours, theirs)
        return Pages(
            OurSide(self.lab.spaces[ours], self.ours[ours].address),
            TheirSide(self.lab.spaces[theirs], self.official[theirs]),
            FIRST_BYTE_LIMIT,
            official_first=theirs == expect.a,
        )

    def stream(self, expect: Expect) -> Stream:
        self.wait_for_route(expect.a, expect.b)
        self.wait_for_route(expect.b, expect.a)
        spaces = self.lab.spaces
        return Stream(spaces[expect.a], spaces[expect.b], self.nodes[expect.b].address, FIRST_BYTE_LIMIT)

    def wait_for_route(self, host: str, peer: str) -> None:
        """Until the kernel sends what is meant for the peer into the tunnel: a TCP connection that is begun earlier
        keeps the source address of the other interface, and never comes through."""
        space, address = self.lab.spaces[host], self.nodes[peer].address
        until(lambda: into_tunnel(space, address), ROUTE_LIMIT, f"a route from {host} to {peer} into the tunnel")

    def block_udp(self, fault: Blocked) -> None:
        """UDP between the outside addresses of two members is dropped in the middle; the server stays in reach."""
        a, b = (self.outside(name) for name in (fault.a, fault.b))
        both_ways = (f"ip saddr {x} ip daddr {y} meta l4proto udp drop" for x, y in ((a, b), (b, a)))
        self.lab.block(INTERNET, *both_ways)

    def outside(self, name: str) -> str:
        routers = self.lab.topology.path_to_internet(name)
        return self.lab.addresses[routers[-1] if routers else name]

    def way_by_command(self, expect: Expect) -> Way:
        """The verdict is what a person would read: `ginnel status --json`."""
        return way_in(self.ours[expect.a].status_by_command(), self.nodes[expect.b].address)


def named(node: GinnelNode, hostname: str) -> str | None:
    """The mesh address of an online peer by its name; None until the node has heard of it."""
    for peer in ((node.status() or {}).get("Peer") or {}).values():
        if peer.get("HostName") == hostname and peer.get("Online") and peer.get("TailscaleIPs"):
            return str(peer["TailscaleIPs"][0])
    return None


def into_tunnel(space: Inside, address: str) -> bool | None:
    """Whether the host's kernel leads an address elsewhere than out of its one real interface."""
    try:
        found = space.run(["ip", "-o", "route", "get", address])
    except LabError:
        return None
    return None if " dev eth0 " in found else True
