"""Let a plan happen, and check it all the while.

Room: testing.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from ginnel.testing.conversation import PORT as CONVERSATION_PORT
from ginnel.testing.memory import held
from ginnel.testing.mesh import SimMesh
from ginnel.testing.nat import EASY, EASY_OTHER_PORT, HARD, Nat, NatKind
from ginnel.testing.plan import Machine, Plan, Talk, plan
from ginnel.testing.plan_faults import Fault
from ginnel.testing.watch import Broken

LOW_PORT, OTHER_PORT = 22, 9000
STARTED_IN = 6.0  # a net check where packets are lost
NAT_PASSED_IN = 7.0
MOVED_IN = 5.0
REGION_MOVED_IN = 25.0  # several dials, a net check, and word by way of the control server
OBJECTS, OBJECTS_OF_A_PEER = 1500, 1500
"""What a core may hold. A peer of a quiet network takes some 150 objects."""
OBJECTS_OF_SEARCHES = 8000  # 500 pings that may still be answered, the ports that were tried, 512 sockets
STORM_LOSS = 0.6
FORGIVEN_IN = 100.0  # a path that lost so much is left for 30 s, and for 60 s if it does it again


@dataclass(frozen=True, slots=True)
class Outcome:
    """`digest`: of all packets. `direct`, `relayed`: conversations that were ever direct at both ends, and the rest."""

    digest: int
    packets: int
    direct: int
    relayed: int
    seconds: float


class Player:
    """One run of a plan."""

    def __init__(self, plan: Plan, *, trace: bool = False) -> None:
        self.plan = plan
        weather = plan.weather
        self.mesh = SimMesh(
            plan.seed,
            regions=len(plan.places),
            latency=weather.latency,
            jitter=weather.jitter,
            loss=weather.loss,
            duplicates=weather.duplicates,
            relay_leg=weather.relay_leg,
            trace=trace,
        )
        for region, place in enumerate(plan.places, 1):
            self.mesh.relays.place(region, place)
        for line in plan.describe():
            self.mesh.watch.note(f"# {line}")
        self.mesh.watch.stir("everybody starts", STARTED_IN)
        self._build()
        self._schedule()

    def run(self) -> Outcome:
        """Raises `Broken`."""
        clock = self.mesh.clock
        began = clock.now
        for _ in range(2):
            clock.run(self.plan.seconds / 2)
            self._check_memory()
        talks = self.mesh.conversations
        direct = sum(talk.direct_after is not None for talk in talks)
        return Outcome(
            self.mesh.watch.digest, self.mesh.network.counts["sent"], direct, len(talks) - direct, clock.now - began
        )

    def _check_memory(self) -> None:
        usual = OBJECTS + OBJECTS_OF_A_PEER * len(self.mesh.nodes)
        for node in list(self.mesh.nodes.values())[:2]:
            limit = usual + (OBJECTS_OF_SEARCHES if len(node.sides) else 0)
            if (count := held(node.mesh)) > limit:
                self.mesh.watch.broken(f"the core of {node.name} holds {count} objects, more than {limit}")

    # --- building ---

    def _build(self) -> None:
        nats: list[Nat] = []
        for router in self.plan.routers:
            behind = nats[router.carrier] if router.carrier is not None else None
            nats.append(self.mesh.nat(router.kind, behind=behind, place=router.place, hops=router.hops))
        for machine in self.plan.machines:
            nat = nats[machine.router] if machine.router is not None else None
            self._node(machine, nat)
        nodes = self.mesh.nodes
        self.mesh.control.denied = {(nodes[a].number, nodes[b].number) for a, b in self.plan.denied}
        forbidden = [machine.name for machine in self.plan.machines if machine.probing == "forbidden"]
        self.mesh.control.probing_forbidden = {nodes[name].number for name in forbidden}
        self.mesh.control.low_ports_closed = {nodes[name].number for name in self.plan.low_ports_closed}

    def _node(self, machine: Machine, nat: Nat | None) -> None:
        self.mesh.node(
            machine.name,
            behind=nat,
            port=machine.port,
            stateful_firewall=machine.firewall,
            forward=machine.opened == "by hand",
            port_mapped=machine.opened == "mapped",
            v4=machine.v4,
            v6=machine.v6,
            lan=IPv4Address(f"192.168.1.{machine.last}"),
            place=machine.place,
            rate=machine.rate,
            hops=machine.hops,
            punches=machine.punches,
            metered=machine.probing == "metered",
        )

    def _schedule(self) -> None:
        clock = self.mesh.clock
        for talk in self.plan.talks:
            clock.after(talk.begins, self._talk, talk)
        for a, b in self.plan.denied:
            clock.after(9.0, self._intrude, a, b)
        for fault in self.plan.faults:
            clock.after(fault.at, getattr(self, fault.kind), fault)

    def _talk(self, talk: Talk) -> None:
        a, b = self.mesh.nodes[talk.a], self.mesh.nodes[talk.b]
        permitted = self.mesh.control.permits(a, b, CONVERSATION_PORT)
        self.mesh.talk(
            talk.a, talk.b, every=talk.every, for_seconds=talk.seconds, one_way=talk.one_way, expect=permitted
        )

    def _intrude(self, a: str, b: str) -> None:
        """What the policy forbids is tried; the watch sees to it that nothing comes of it."""
        nodes = self.mesh.nodes
        self.mesh.facts.search_patience(nodes[a], nodes[b]).unwatched(self.mesh.clock.now)
        self.mesh.send(a, b, b"may I?", port=OTHER_PORT)
        self.mesh.send(a, b, b"may I?", port=LOW_PORT)

    # --- faults: the names in a plan ---

    def reboot_nat(self, fault: Fault) -> None:
        self.mesh.reboot_nat(fault.who[0])
        self.mesh.watch.stir("", NAT_PASSED_IN)

    def hole(self, fault: Fault) -> None:
        a, b = fault.who
        self.mesh.hole(a, b)
        self.mesh.clock.after(fault.lasts, self.mesh.close_hole, a, b)

    def region_down(self, fault: Fault) -> None:
        region = int(fault.who[0])
        self.mesh.kill_region(region)
        self.mesh.watch.stir("", REGION_MOVED_IN)
        self.mesh.clock.after(fault.lasts, self._region_back, region)

    def _region_back(self, region: int) -> None:
        self.mesh.revive_region(region)
        self.mesh.watch.stir("", REGION_MOVED_IN)

    def control_away(self, fault: Fault) -> None:
        self.mesh.control_away()
        self.mesh.clock.after(fault.lasts, self.mesh.control_back)

    def restart(self, fault: Fault) -> None:
        self.mesh.restart(fault.who[0])

    def sleep(self, fault: Fault) -> None:
        self.mesh.sleep(fault.who[0], fault.lasts)

    def leave(self, fault: Fault) -> None:
        self.mesh.leave(fault.who[0])

    def forbid_probing(self, fault: Fault) -> None:
        self.mesh.forbid_probing(fault.who[0])

    def metered(self, fault: Fault) -> None:
        self.mesh.metered(fault.who[0], True)
        self.mesh.clock.after(fault.lasts, self.mesh.metered, fault.who[0], False)

    def move_to_easy(self, fault: Fault) -> None:
        self._move(fault, EASY)

    def move_unheard(self, fault: Fault) -> None:
        """While the control server is away, so that peers hear of it by their relays or not at all."""
        self.control_away(fault)
        self.mesh.clock.after(2.0, self._move, fault, EASY_OTHER_PORT)

    def move_to_hard(self, fault: Fault) -> None:
        self._move(fault, HARD)

    def move_to_open(self, fault: Fault) -> None:
        self._move(fault, None)

    def move_to_v6(self, fault: Fault) -> None:
        self._move(fault, None, v4=False)

    def _move(self, fault: Fault, kind: NatKind | None, *, v4: bool = True) -> None:
        self.mesh.move(fault.who[0], kind, v4=v4, v6=not v4)
        self.mesh.watch.stir("", MOVED_IN)

    def storm(self, fault: Fault) -> None:
        """Most packets are lost for a while."""
        before = self.mesh.network.loss
        self.mesh.network.loss = STORM_LOSS
        self.mesh.watch.stir("most packets are lost", fault.lasts + 10.0)
        self.mesh.clock.after(fault.lasts, self._calm, before)

    def _calm(self, loss: float) -> None:
        self.mesh.network.loss = loss
        self.mesh.watch.stir("the storm is over", FORGIVEN_IN)

    def deny(self, fault: Fault) -> None:
        """The policy changes under traffic: what flows goes on, nothing new comes in."""
        a, b = fault.who
        self.mesh.deny(a, b)
        self.mesh.clock.after(5.0, self._intrude, a, b)


def play(seed: int, *, trace: bool = False) -> Outcome:
    """Run one seed. Raises `Broken`, with the command that repeats the run and shows it."""
    try:
        return Player(plan(seed), trace=trace).run()
    except Broken as broken:
        breach = str(broken)
    except Exception as crash:
        raise Broken(f"seed {seed} crashes: {crash!r}; {replay(seed)}") from crash
    raise Broken(f"seed {seed}: {breach}; {replay(seed)}")


def replay(seed: int) -> str:
    return f"replay: python -m ginnel.testing --seed {seed} --trace"
