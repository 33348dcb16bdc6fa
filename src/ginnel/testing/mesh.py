"""A whole mesh in one process: nodes with the daemon's own cores, a control server, relays, NATs, one seed.

Room: testing.

    mesh = SimMesh(seed=7)
    alice, bob = mesh.node("alice", EASY), mesh.node("bob", EASY)
    mesh.clock.run(2.0)
    mesh.talk("alice", "bob")
    assert mesh.clock.run_until(lambda: mesh.direct("alice", "bob"), limit=1.0)
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from random import Random

from ginnel.testing.clock import VirtualClock
from ginnel.testing.control import Control
from ginnel.testing.conversation import Conversation
from ginnel.testing.facts import Facts
from ginnel.testing.firewall import Firewall
from ginnel.testing.inner import Inner
from ginnel.testing.nat import HOPS, Nat, NatKind
from ginnel.testing.network import Host, Network
from ginnel.testing.node import SimNode, World
from ginnel.testing.relay import RelayNet
from ginnel.testing.watch import Watch
from ginnel.words import Endpoint, RegionId

PORT = 41641


class Nodes(dict[str, SimNode]):
    """By name."""

    def __missing__(self, name: str) -> SimNode:
        raise LookupError(f"there is no node {name!r}; there are {', '.join(self) or 'none yet'}")


class SimMesh:
    """`regions`: that many relays, each with a STUN server of its own address. `latency`: one way, between hosts, and
    `jitter`, `loss`, `duplicates` as in network.py; `relay_leg`: from a host to a relay, or to the control server.
    `trace`: keep a line for each packet and decision in `watch.trace`."""

    def __init__(
        self,
        seed: int,
        *,
        regions: int = 1,
        latency: float = 0.02,
        jitter: float = 0.002,
        loss: float = 0.0,
        duplicates: float = 0.0,
        relay_leg: float = 0.02,
        trace: bool = False,
    ) -> None:
        self.seed = seed
        self.random = Random(seed)  # noqa: S311 - a simulation must be repeatable
        self.clock = VirtualClock()
        self.network = Network(
            self.clock, self.random, latency=latency, jitter=jitter, loss=loss, duplicates=duplicates
        )
        self.nodes = Nodes()
        self.conversations: list[Conversation] = []
        self.watch = Watch(self.clock, trace=trace)
        self.relays = RelayNet(self.clock, self.network, regions=regions, leg=relay_leg)
        self.control = Control(self.clock, self.relays.derp_map, leg=relay_leg)
        self.world = World(self.clock, self.random, self.network, self.relays, self.control, self.watch)
        self.facts = Facts(self.world)
        self._nats = 0

    # --- building ---

    def nat(
        self,
        kind: NatKind,
        *,
        behind: Nat | None = None,
        place: float = 0.0,
        hops: int = HOPS,
        outer: IPv4Address | None = None,
    ) -> Nat:
        """A router for several machines (`node(behind=...)`), itself behind another one or on the internet."""
        if not isinstance(kind, NatKind):
            raise TypeError(f"a kind of NAT is one of ginnel.testing.nat's, such as EASY, not {kind!r}")
        self._nats += 1
        number = self._nats
        if outer is None:
            carrier = f"100.{100 + number // 250}.9.{number % 250 + 1}"
            outer = IPv4Address(carrier if behind is not None else f"198.{18 + number // 250}.7.{number % 250 + 1}")
        box = Nat(kind, outer, self.random, upstream=behind)
        box.place, box.hops = place, hops
        self.network.add_nat(box)
        return box

    def node(
        self,
        name: str,
        nat: NatKind | None = None,
        *,
        behind: Nat | None = None,
        port: int = PORT,
        stateful_firewall: bool = False,
        forward: bool = False,
        port_mapped: bool = False,
        v4: bool = True,
        v6: bool = False,
        lan: IPv4Address | None = None,
        place: float = 0.0,
        rate: float = 1.0,
        hops: int = HOPS,
        punches: bool = True,
        metered: bool = False,
    ) -> SimNode:
        """A machine that starts now. `forward`: its router lets the fixed port in, and nobody told the node.
        `port_mapped`: likewise, and the node names that address. `behind`: a NAT shared with others. `lan`: its
        address there. The port is random when it is 0, as it is without configuration. `place`, `hops`: network.py;
        `rate`, `punches`: node.py. `metered`: its way out is a modem."""
        if name in self.nodes:
            raise ValueError(f"there is a node {name!r} already: each needs a name of its own")
        number = len(self.nodes) + 1
        wanted = port or self.random.randrange(20000, 60000)
        box = behind if nat is None else self.nat(nat, behind=behind, place=place, hops=hops)
        inside = (lan or IPv4Address(f"10.0.{number // 200}.{number % 200 + 1}")) if box is not None else None
        host = Host(
            name,
            (inside or IPv4Address(f"198.51.{100 + number // 200}.{number % 200 + 1}")) if v4 else None,
            IPv6Address(f"2001:db8:{number:x}::1") if v6 else None,
            box if v4 else None,
            Firewall(stateful=stateful_firewall),
            place=place,
            hops=hops,
        )
        self.network.add(host)
        mapped: list[Endpoint] = []
        if box is not None and inside is not None and (forward or port_mapped):
            box.forwards[wanted] = Endpoint(inside, wanted)
            mapped = [Endpoint(box.outer, wanted)] if port_mapped else []
        node = SimNode(self.world, name, number, host, wanted, rate=rate, static_endpoints=mapped, punches=punches)
        node.pays_by_the_byte(metered)
        self.nodes[name] = node
        return node

    # --- what befalls it ---

    def restart(self, name: str) -> SimNode:
        """The process is killed and comes up anew: the same node key, another disco key, no session."""
        self.watch.stir(f"{name} restarts")
        self.nodes[name].start()
        return self.nodes[name]

    def move(self, name: str, nat: NatKind | None, *, v4: bool = True, v6: bool = False) -> None:
        """The machine comes up in another network; the process goes on and is told of it."""
        self.watch.stir(f"{name} moves to {nat.name if nat is not None and v4 else 'the open internet'}")
        node = self.nodes[name]
        box = self.nat(nat, place=node.host.place) if nat is not None and v4 else None
        inside = IPv4Address(f"10.9.{node.number // 200}.{node.number % 200 + 1}")
        outside = IPv4Address(f"192.0.2.{node.number % 200 + 1}")
        self.network.move(
            node.host,
            (inside if box is not None else outside) if v4 else None,
            box,
            IPv6Address(f"2001:db8:{node.number + 0x4000:x}::1") if v6 else None,
        )
        node.host.firewall.forget()
        self.facts.forget()
        node.network_changed()

    def sleep(self, name: str, seconds: float) -> None:
        """The machine's lid is shut for so long."""
        self.watch.stir(f"{name} sleeps for {seconds:.0f} s")
        self.nodes[name].sleep()
        self.clock.after(seconds, self._wake_up, name, seconds)

    def _wake_up(self, name: str, slept: float) -> None:
        self.watch.stir(f"{name} wakes up")
        self.watch.policy_changed()  # it may have slept through a change
        self.nodes[name].wake_up(slept)

    def reboot_nat(self, name: str) -> None:
        """The router next to that node, if there is one, forgets every mapping."""
        self.watch.stir(f"the router of {name} restarts")
        host = self.nodes[name].host
        host.firewall.forget()
        if host.nat is not None:
            host.nat.reboot()

    def hole(self, a: str, b: str) -> None:
        """No UDP passes between the two machines any more, either way."""
        self.watch.stir(f"nothing passes between {a} and {b}")
        self.network.holes.add(frozenset((a, b)))

    def close_hole(self, a: str, b: str) -> None:
        self.watch.stir(f"packets pass again between {a} and {b}")
        self.network.holes.discard(frozenset((a, b)))

    def kill_region(self, region: int) -> None:
        """Its relay dies; its STUN server goes on answering."""
        self.watch.stir(f"the relay of region {region} dies")
        self.relays.kill(RegionId(region))

    def region_restarts(self, region: int, reconnect_in: float = 0.0) -> None:
        """Its relay says that it goes away, and carries on until its clients have another connection."""
        self.relays.restarts(RegionId(region), reconnect_in)

    def revive_region(self, region: int) -> None:
        self.watch.stir(f"the relay of region {region} is back")
        self.relays.revive(RegionId(region))

    def control_away(self) -> None:
        self.watch.stir("the control server goes away")
        self.control.go_away()

    def control_back(self) -> None:
        self.watch.stir("the control server is back")
        self.watch.policy_changed()
        self.control.come_back()

    def deny(self, source: str, to: str) -> None:
        """From now on the policy lets nothing of `source` in at `to`, except answers."""
        self.watch.policy_changed()
        self.control.deny(self.nodes[source], self.nodes[to])

    def forbid_probing(self, name: str) -> None:
        """From now on the policy lets that node guess no ports."""
        self.watch.stir(f"{name} may guess no ports")
        self.control.forbid_probing(self.nodes[name])

    def metered(self, name: str, metered: bool) -> None:
        """Its way out is paid for by the byte from now on, or no longer."""
        self.watch.stir(f"the way out of {name} is {'a modem' if metered else 'no modem any more'}")
        self.nodes[name].pays_by_the_byte(metered)

    def leave(self, name: str) -> None:
        """The machine is switched off for good, and its node removed."""
        self.watch.stir(f"{name} leaves")
        self.nodes[name].host.asleep = True
        self.control.remove(self.nodes[name])

    # --- the application ---

    def send(self, source: str, to: str, body: bytes = b"hello", *, port: int = 7000) -> None:
        self.nodes[source].send(self.nodes[to], body, port=port, source_port=50000)

    def talk(
        self,
        a: str,
        b: str,
        *,
        every: float = 0.1,
        for_seconds: float = 3600.0,
        one_way: bool = False,
        expect: bool = False,
    ) -> Conversation:
        """Packets from `a` to `b`, each answered by one unless they go `one_way`. `expect`: the answers, and a direct
        path, are checked all the time (conversation.py)."""
        conversation = Conversation(
            self.world,
            self.nodes[a],
            self.nodes[b],
            number=len(self.conversations),
            every=every,
            end=self.clock.now + for_seconds,
            one_way=one_way,
            facts=self.facts if expect else None,
        )
        self.conversations.append(conversation)
        conversation.step()
        return conversation

    def ping(self, source: str, to: str, request: int = 1) -> None:
        node = self.nodes[source]
        self.watch.contact(node, self.nodes[to])
        node.input(node.mesh.ping_requested, request, self.nodes[to].public, 0)

    def on_delivery(self, name: str, call: Callable[[SimNode, Inner], None]) -> None:
        """Hear of each packet that comes out of that node's tunnel."""
        self.nodes[name].on_delivery = call

    # --- questions ---

    def direct(self, a: str, b: str) -> bool:
        """`a` sends to `b` by UDP alone."""
        return self.facts.direct(self.nodes[a], self.nodes[b])

    def both_direct(self, a: str, b: str) -> bool:
        return self.direct(a, b) and self.direct(b, a)
