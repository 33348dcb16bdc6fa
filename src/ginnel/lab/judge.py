"""One scenario run from start to verdict.

Room: lab. The order matters: networks are verified before anything joins, paths are timed from the first packet that
traffic wanted to send, and a pair that must stay relayed is held for longer than any attempt to do better takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ginnel.lab import LabError
from ginnel.lab.capture import Capture, Seen, telltale
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import SERVER, kind_named
from ginnel.lab.members import Node, Way
from ginnel.lab.mesh import Mesh
from ginnel.lab.names import NoNames
from ginnel.lab.official import leaves, looks_direct, looks_relayed
from ginnel.lab.probe import probe
from ginnel.lab.relay_hosts import relay_event
from ginnel.lab.report import Check, Outcome, Pair
from ginnel.lab.restarts import daemon_comes_back, server_comes_back
from ginnel.lab.scenario import Expect, Scenario
from ginnel.lab.talk import Talk
from ginnel.lab.topology import OBSERVER
from ginnel.lab.traffic import Conversation

Tell = Callable[[str], None]
FIRST_BYTE_LIMIT = 20.0
DIRECT_LIMIT = 30.0
RELAY_HOLD = 8.0  # discovery repeats each 5 s; a second round has then failed too
PAYLOAD_BLOCKS = 1 << 15  # of 64 bytes: 2 MiB
PAYLOAD_LIMIT = 60.0
ASK_AGAIN = 0.025  # often enough to time a path, seldom enough not to keep two daemons busy with answers
CONTROL_BLOCKS = 1 << 10


def judge(scenario: Scenario, tell: Tell, logs: Path | None = None) -> Outcome:
    """Never raises for what the scenario found; whatever goes wrong is a failed check.

    logs: a directory that gets what every program said, by scenario and host.
    """
    started = time.monotonic()
    run = Run(scenario, tell, logs)
    try:
        run.all()
    except (LabError, OSError) as error:
        run.check("ran-to-the-end", False, str(error))
    seconds = time.monotonic() - started
    passed = (
        all(check.passed for check in run.checks)
        and len(run.pairs) == len(scenario.pairs)
        and all(pair.path == pair.expected for pair in run.pairs)
    )
    tell(f"{scenario.name}: {'passed' if passed else 'FAILED'} after {seconds:.1f} s")
    return Outcome(scenario.name, passed, round(seconds, 3), run.pairs, run.checks)


class Run:
    """What one scenario has shown so far."""

    def __init__(self, scenario: Scenario, tell: Tell, logs: Path | None = None) -> None:
        self.scenario, self.logs = scenario, logs
        self.say = tell
        self.pairs: list[Pair] = []
        self.checks: list[Check] = []

    def tell(self, line: str) -> None:
        self.say(f"{self.scenario.name}: {line}")

    def check(self, name: str, passed: bool, detail: str) -> None:
        self.tell(f"{'ok  ' if passed else 'FAIL'} {name}: {detail}")
        self.checks.append(Check(name, passed, detail))

    def all(self) -> None:
        with Lab(self.scenario.topology(), self.scenario.lengths()) as lab:
            self.verify_networks(lab)
            try:
                self.run_in(lab)
            finally:
                if self.logs is not None:
                    lab.copy_logs(self.logs / self.scenario.name.replace("/", "-"))

    def run_in(self, lab: Lab) -> None:
        with NoNames(lab.spaces[OBSERVER], lab.plan.observer[0]) as names:
            mesh = Mesh(lab, self.scenario, self.tell, names)
            mesh.start()
            for expect in self.scenario.pairs:
                self.pair(mesh, expect)

    def verify_networks(self, lab: Lab) -> None:
        """A scenario whose network is not what it claims proves nothing, whatever the nodes do in it."""
        for member in self.scenario.members:
            differences = kind_named(member.kind).traits.differences(probe(lab, member.name))
            self.check(f"network-{member.name}", not differences, "; ".join(differences) or f"is {member.kind}")
        lab.reset_nats()
        if not all(check.passed for check in self.checks):
            raise LabError("a network is not what it claims, so nothing was tried in it")

    def pair(self, mesh: Mesh, expect: Expect) -> None:
        a, b = mesh.nodes[expect.a], mesh.nodes[expect.b]
        faulty = [fault for fault in self.scenario.faults if {fault.a, fault.b} == {expect.a, expect.b}]
        for fault in faulty:
            mesh.block_udp(fault)
        with mesh.talk(expect) as talk:
            first_byte = talk.seconds_to_first_byte
            self.tell(f"first byte after {first_byte:.3f} s")
            started = talk.started
            if faulty:
                self.stays_relayed(a, b, "relayed-while-blocked", hold=0.5)
                if expect.b in mesh.daemons:
                    looks_relayed(mesh, expect, self.check)
                mesh.lab.unblock()
                started = time.monotonic()
            direct_after = None
            if expect.path == "direct":
                direct_after = self.wait_for_direct(a, b, started)
            else:
                self.stays_relayed(a, b, "stays-relayed", RELAY_HOLD)
            self.payload(mesh, talk)
            talk.check(self.check)
            way = mesh.way_by_command(expect)
            if expect.b in mesh.daemons:
                looks_direct(mesh, expect, self.check)
            if self.scenario.restarts:
                daemon_comes_back(mesh, expect, talk, self.check)
                server_comes_back(mesh, expect, talk, self.check)
            if self.scenario.relay_event:
                relay_event(mesh, self.scenario.relay_event, expect, talk, self.check)
            if expect.b in mesh.daemons:
                leaves(mesh, expect, self.check)
        seconds = None if direct_after is None else round(direct_after, 3)
        self.pairs.append(
            Pair(expect.a, expect.b, expect.path, way.path, way.endpoint, way.region, round(first_byte, 3), seconds)
        )

    def wait_for_direct(self, a: Node, b: Node, started: float) -> float | None:
        """Seconds until both ends call the path direct; None when they do not in time."""
        while (now := time.monotonic()) < started + DIRECT_LIMIT:
            ways = a.way_to(b.address), b.way_to(a.address)
            if all(way.path == "direct" for way in ways):
                self.tell(f"direct after {now - started:.3f} s by {ways[0].endpoint} and {ways[1].endpoint}")
                return now - started
            time.sleep(ASK_AGAIN)
        self.tell(f"not direct after {DIRECT_LIMIT:g} s")
        return None

    def stays_relayed(self, a: Node, b: Node, name: str, hold: float) -> None:
        until = time.monotonic() + hold
        ways: list[Way] = []
        while time.monotonic() < until:
            ways = [a.way_to(b.address), b.way_to(a.address)]
            if any(way.path == "direct" for way in ways):
                break
            time.sleep(ASK_AGAIN)
        relayed = bool(ways) and all(way.path == "relay" for way in ways)
        self.check(name, relayed, f"{' and '.join(way.path for way in ways)} after {hold:g} s")

    def payload(self, mesh: Mesh, talk: Talk) -> None:
        """A known payload crosses whole; where asked, the relay's interface is searched for it meanwhile."""
        payload, needle = telltale(PAYLOAD_BLOCKS)
        with ExitStack() as stack:
            capture = None
            if self.scenario.watch_relay:
                capture = stack.enter_context(Capture(mesh.lab.spaces[SERVER], "eth0", needle))
            took = talk.carry(payload, PAYLOAD_LIMIT)
        self.check("payload", took is not None, f"{len(payload)} bytes in {took or PAYLOAD_LIMIT:.2f} s")
        if capture is not None:
            self.no_plaintext(mesh.lab, capture.seen, len(payload))

    def no_plaintext(self, lab: Lab, seen: Seen, size: int) -> None:
        """And the same capture of the same kind of payload in the clear does see it, or it would prove nothing."""
        payload, needle = telltale(CONTROL_BLOCKS)
        server = lab.spaces[SERVER]
        address = lab.addresses[SERVER]
        with (
            Capture(server, "eth0", needle) as control,
            Conversation(lab.spaces[OBSERVER], server, address, FIRST_BYTE_LIMIT) as clear,
        ):
            clear.send_and_wait(payload, PAYLOAD_LIMIT)
        clean = seen.with_needle == 0 and seen.lost == 0 and seen.bytes >= size
        self.check(
            "no-plaintext-at-relay", clean and control.seen.with_needle > 0, f"{seen}; in the clear: {control.seen}"
        )
