"""The coordination server is gone, or there and dead: for everybody, so no firewall's doing.

Room: lab.
"""

from __future__ import annotations

import signal

from ginnel.lab import LabError
from ginnel.lab.diagnosis.fault import Fault, Proof, View
from ginnel.lab.diagnosis.faults_relays import OPERATOR
from ginnel.lab.diagnosis.programs import CONTROL_NAME
from ginnel.lab.diagnosis.proofs import Prove, issuer, proof, tcp
from ginnel.lab.diagnosis.world import ALICE, BOB, World
from ginnel.lab.kinds import SERVER
from ginnel.lab.processes import Process

NOTICED = 12.0  # seconds in which daemons may notice; their connection may stand for minutes


def end_server(world: World) -> None:
    running(world).kill()
    world.sees(lambda: any("no connection to" in line for line in health(world)), NOTICED)


def freeze_server(world: World) -> None:
    """Its machine accepts connections, and nobody is at home."""
    server = running(world).popen
    server.send_signal(signal.SIGSTOP)
    world.stack.callback(server.send_signal, signal.SIGCONT)


def running(world: World) -> Process:
    if world.server.process is None:
        raise LabError("the coordination server does not run")
    return world.server.process


def health(world: World) -> list[str]:
    return [str(line) for line in (world.alice.status() or {}).get("Health") or []]


def nobody_answers(tcp_says: str) -> Prove:
    """From neither network, while relays answer both."""

    def prove(world: World) -> Proof:
        facts: dict[str, tuple[object, object]] = {}
        for host in (ALICE, BOB):
            facts[f"{host}-{SERVER}"] = tcp(world, host, SERVER), tcp_says
            facts[f"{host}-{SERVER}-tls"] = issuer(world, host, SERVER, CONTROL_NAME), ""
            facts[f"{host}-derp-a"] = tcp(world, host, "derp-a"), "open"
        return proof(**facts)

    return prove


DOWN = (View(ALICE, "control-down", names=(CONTROL_NAME,), mend_at=OPERATOR),)
FAULTS = (
    Fault(
        "control-gone",
        "network",
        "the coordination server's program has ended, the tunnels go on",
        DOWN,
        nobody_answers("refused"),
        inject=end_server,
    ),
    Fault(
        "control-frozen",
        "network",
        "the coordination server's machine accepts connections, and its program does nothing",
        DOWN,
        nobody_answers("open"),
        inject=freeze_server,
    ),
)
