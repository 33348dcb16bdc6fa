"""Two hard NATs, relayed; the router of one forwards the tunnel's port, and its own firewall drops what comes by it.
The command that the doctor prints, run on the device that it names, makes the pair direct.

As elsewhere `sudo` is not there and `ginnel` not installed: two scripts stand for them.
"""

import json
import random
import sys
import time
from pathlib import Path

import pytest

from ginnel.lab.diagnosis.catalogue import FAULTS
from ginnel.lab.diagnosis.run import bring_about, let_search_end
from ginnel.lab.diagnosis.world import World
from ginnel.lab.members import SOURCES
from ginnel.lab.processes import until

pytestmark = pytest.mark.root

DIRECT_WITHIN = 10.0
LIMIT = 60.0
SCRIPTS = {
    "sudo": 'exec "$@"',
    "ginnel": f"PYTHONPATH={SOURCES} exec {sys.executable} -c 'from ginnel.cli.main import main; main()' \"$@\"",
}


def prompt(world: World, host: str, command: str) -> str:
    """What a person types there."""
    places = Path(world.lab.directory, host, "bin")
    places.mkdir(exist_ok=True)
    for name, does in SCRIPTS.items():
        (places / name).write_text(f"#!/bin/sh\n{does}\n")
        (places / name).chmod(0o755)
    script = f"PATH={world.lab.inside_path('bin')}:$PATH; {command}"
    return world.lab.spaces[host].run(["bash", "-c", script])


def diagnosed(world: World, host: str, peer: str) -> dict[str, str]:
    asked = world.members[host].ask("doctor", peer, "--json")
    asked.wait(LIMIT)
    found = json.loads(asked.said_now())
    assert (found["verdict"], found["path"]) == ("degraded", "relay")
    fix: dict[str, str] = found["causes"][0]["fix"]
    return fix


@pytest.mark.parametrize(
    ("fault", "asked", "peer"),
    [
        ("host-firewall", "bob", "alice"),
        ("host-firewall-iptables", "bob", "alice"),
        ("host-firewall-ufw", "bob", "alice"),
    ],
)
def test_the_command_that_the_doctor_prints_makes_the_pair_direct(fault: str, asked: str, peer: str) -> None:
    done = FAULTS[fault]
    with World(done.sites(random.Random(1)), random.Random(1), done.relays) as world:
        proof = bring_about(world, done)
        assert proof.holds, proof.detail
        let_search_end(world)
        fix = diagnosed(world, asked, peer)
        assert fix["where"] == "alice"
        prompt(world, fix["where"], fix["command"])
        began = time.monotonic()
        until(lambda: world.ways() == ("direct", "direct") or None, LIMIT, f"the pair to be direct after {fix}")
        assert time.monotonic() - began < DIRECT_WITHIN
