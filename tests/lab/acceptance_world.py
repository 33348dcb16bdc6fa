"""What a person does in a mesh that stands, for tests that go through promises: commands, packets, looks."""

from ginnel.lab.diagnosis.world import World
from ginnel.lab.mesh import into_tunnel
from ginnel.lab.processes import Process
from ginnel.lab.traffic import Conversation

LIMIT = 40.0


def knows(world: World, peer: str) -> bool | None:
    return into_tunnel(world.lab.spaces["alice"], world.members[peer].address)


def icmp(world: World, host: str, peer: str) -> None:
    """One packet there and back; LabError when it does not come."""
    world.lab.spaces[host].run(["ping", "-n", "-c", "1", "-W", "10", world.members[peer].address])


def run(world: World, host: str, *words: str) -> Process:
    asked = world.members[host].ask(*words)
    asked.wait(LIMIT)
    return asked


def said(world: World, host: str, *words: str) -> str:
    asked = run(world, host, *words)
    assert asked.ended() == 0, asked.said()
    return asked.said_now()


def shell(world: World, host: str, command: str) -> str:
    return world.lab.spaces[host].run(["bash", "-o", "pipefail", "-c", command])


def way(world: World, a: str, b: str) -> str:
    return world.members[a].way_to(world.members[b].address).path


def talking(world: World, a: str, b: str) -> Conversation:
    return Conversation(world.lab.spaces[a], world.lab.spaces[b], world.members[b].address, LIMIT)
