"""A scenario as data: who sits in which network, what goes wrong when, and what each pair must come to.

Room: lab.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ginnel.lab.kinds import network
from ginnel.lab.line import Impairment
from ginnel.lab.report import Path
from ginnel.lab.topology import Host, Topology

RelayEvent = Literal["", "killed", "silent", "lost", "drained", "stopped"]
Client = Literal["ginnel", "official", "official-daemon"]


@dataclass(frozen=True, slots=True)
class Member:
    """A machine that joins the mesh from a network of some kind; `official` is Tailscale's own Go client as a library,
    `official-daemon` its daemon and command line."""

    name: str
    kind: str
    client: Client = "ginnel"


@dataclass(frozen=True, slots=True)
class Expect:
    """What a pair must come to; a has our node, since it is asked for its view."""

    a: str
    b: str
    path: Path


@dataclass(frozen=True, slots=True)
class Blocked:
    """UDP between two members' networks is dropped on the way until relayed traffic was seen between them."""

    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """watch_relay: capture at the relay while a known payload crosses. restarts: our daemon is killed and comes back,
    then the server is started anew; traffic must go on without anybody logging in. one_way: seconds that a packet takes
    between each member's site and the internet. relays: machines on the internet that each run a relay of the server's
    fleet, in one region that is the members' home. relay_event: what becomes of the first of them, or of the region."""

    name: str
    about: str
    members: tuple[Member, ...]
    pairs: tuple[Expect, ...]
    faults: tuple[Blocked, ...] = ()
    watch_relay: bool = False
    restarts: bool = False
    one_way: float = 0.0
    relays: tuple[str, ...] = ()
    relay_event: RelayEvent = ""

    def topology(self) -> Topology:
        whole = network(**{member.name: member.kind for member in self.members})
        return Topology(whole.routers, (*whole.hosts, *(Host(name) for name in self.relays)))

    def lengths(self) -> dict[str, Impairment]:
        """What the link of each site to the internet does, where it is no plain cable."""
        if not self.one_way:
            return {}
        topology = self.topology()
        return {topology.edge(member.name): Impairment(delay=self.one_way) for member in self.members}
