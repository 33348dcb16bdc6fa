"""A machine whose DNS fails comes up again: at the server's last address, or where a relay says that the server is.

The network is that of ginnel/lab/diagnosis/world.py; its relays run alone and are told the server's name.
"""

import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ginnel.lab.diagnosis.programs import CONTROL_NAME
from ginnel.lab.diagnosis.resolver import Mood
from ginnel.lab.diagnosis.world import ALICE, BOB, World
from ginnel.lab.kinds import network
from ginnel.lab.processes import until
from ginnel.shell.node.remembered import FILE

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root and network namespaces")]

LIMIT = 60.0
RELAYS = ("derp-a", "derp-b")


@contextmanager
def standing(settings: str = "") -> Iterator[World]:
    """Alice and bob have met; all names were resolved. `settings`: of the server's table `relays`."""
    with World(network(alice="easy", bob="easy"), random.Random(1), RELAYS, settings) as world:
        world.relay_words = ("--bootstrap-dns-names", CONTROL_NAME)
        for relay in RELAYS:
            world.ask_resolver(relay, world.lab.plan.observer[0])
        world.start()
        world.join()
        until(lambda: reaches_bob(world), LIMIT, "the pair to meet")
        until(lambda: knows_all(world), LIMIT, "alice to remember the server and the relays")
        yield world


def file_of(world: World) -> Path:
    return world.lab.directory / ALICE / "state" / FILE


def remembered(world: World) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(file_of(world).read_text()) if file_of(world).exists() else {}
    return {"Hosts": {}, "Relays": {}, **found}


def knows_all(world: World) -> bool | None:
    known = remembered(world)
    return (CONTROL_NAME in known["Hosts"] and len(known["Relays"]) == len(RELAYS)) or None


def restart(world: World, mood: Mood, *, forget_server: bool) -> None:
    """Alice's daemon ends, her name server is in another mood, and the daemon starts again."""
    assert world.alice.daemon is not None
    world.alice.daemon.stop()
    world.resolvers[world.router(ALICE)].mood = mood
    if forget_server:
        file_of(world).write_text(json.dumps(remembered(world) | {"Hosts": {}}))
    world.alice.start()


def health(world: World) -> list[str]:
    return list((world.alice.status() or {}).get("Health") or ())


def reaches_bob(world: World) -> bool | None:
    ping = world.lab.start(ALICE, "ping-bob", ["ping", "-n", "-c", "1", "-W", "2", world.bob.address])
    return ping.wait(LIMIT) == 0 or None


@pytest.mark.parametrize(
    ("mood", "settings", "way"),
    [
        ("silent", "", "at its last known address"),
        ("silent", "", "where relay 91"),
        ("nxdomain", "names_only = true", "where relay 91"),
    ],
)
def test_a_machine_whose_dns_fails_comes_up_and_reaches_its_peer(mood: Mood, settings: str, way: str) -> None:
    forget_server = way != "at its last known address"
    with standing(settings) as world:
        restart(world, mood, forget_server=forget_server)
        until(lambda: world.alice.state == "Running" or None, LIMIT, "alice to come up")
        until(lambda: reaches_bob(world), LIMIT, f"{ALICE} to reach {BOB}")
        assert any(CONTROL_NAME in line and way in line for line in health(world)), health(world)
        asked = world.alice.ask("doctor", "--json")
        asked.wait(LIMIT)
        assert "dns-broken" in [cause["cause"] for cause in json.loads(asked.said_now())["causes"]]
        for words in (("netcheck",), ("status",)):
            assert world.alice.ask(*words).wait(LIMIT) == 0
