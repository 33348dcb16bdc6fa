"""iptables and ip6tables: restored beside a default deny with the commands of their own comments, and then tried."""

from __future__ import annotations

import re

import pytest

from ginnel.core.firewall.formats.table import FORMATS
from ginnel.core.firewall.needs import Plan
from tests.core.firewall.formats.plans import ANY_PORT, PINNED, RECOMMENDED
from tests.core.firewall.formats.world import (
    World,
    commands,
    everything_passes,
    inside_the_mesh,
    program,
    what_gets_in,
    what_passes,
)

pytestmark = pytest.mark.root
PROGRAM = {4: "iptables", 6: "ip6tables"}


def restore(world: World, family: int, plan: Plan) -> str:
    text = FORMATS[PROGRAM[family]].render(plan)
    for check in (["--test"], []):
        world.host(program(f"{PROGRAM[family]}-restore"), "--noflush", *check, stdin=text)
    return text


def jump(world: World, text: str) -> None:
    world.script(commands(text, "After loading"))


def deny(world: World, family: int) -> None:
    for chain in ("INPUT", "OUTPUT"):
        world.host(program(PROGRAM[family]), "-P", chain, "DROP")


def saved(world: World, family: int) -> list[str]:
    lines = world.host(program(f"{PROGRAM[family]}-save")).splitlines()
    return [re.sub(r" \[\d+:\d+\]", "", line) for line in lines if line.startswith((":", "-"))]


@pytest.mark.parametrize("family", [4, 6])
def test_what_the_plan_names_passes_beside_a_default_deny_and_nothing_else(two_hosts: World, family: int) -> None:
    deny(two_hosts, family)
    jump(two_hosts, restore(two_hosts, family, RECOMMENDED))
    what_passes(two_hosts, family)
    what_gets_in(two_hosts, family)


@pytest.mark.parametrize("family", [4, 6])
def test_what_runs_inside_the_mesh_passes_once_its_lines_are_uncommented(two_hosts: World, family: int) -> None:
    deny(two_hosts, family)
    text = FORMATS[PROGRAM[family]].render(RECOMMENDED)
    two_hosts.host(program(f"{PROGRAM[family]}-restore"), "--noflush", stdin=inside_the_mesh(text, "eth0"))
    jump(two_hosts, text)
    everything_passes(two_hosts, family)


@pytest.mark.parametrize("family", [4, 6])
def test_restoring_again_keeps_other_rules_and_doubles_none(two_hosts: World, family: int) -> None:
    two_hosts.host(program(PROGRAM[family]), "-A", "OUTPUT", "-p", "tcp", "--dport", "25", "-j", "DROP")
    text = restore(two_hosts, family, PINNED)
    jump(two_hosts, text)
    once = saved(two_hosts, family)
    jump(two_hosts, restore(two_hosts, family, PINNED))
    assert saved(two_hosts, family) == once
    assert once.count("-A OUTPUT -p tcp -m tcp --dport 25 -j DROP") == 1
    assert sum(line.startswith("-A OUTPUT -j GINNEL-OUT") for line in once) == 1


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_taken_back_leaves_the_users_own_rules(two_hosts: World, family: int) -> None:
    deny(two_hosts, family)
    for chain in ("OUTPUT", "INPUT"):
        two_hosts.host(program(PROGRAM[family]), "-A", chain, "-p", "tcp", "--dport", "25", "-j", "DROP")
    before = saved(two_hosts, family)
    text = restore(two_hosts, family, PINNED)
    jump(two_hosts, text)
    assert saved(two_hosts, family) != before
    two_hosts.script(commands(text, "To take it all back"))
    assert saved(two_hosts, family) == before


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("plan", [PINNED, ANY_PORT], ids=["pinned", "any port"])
def test_every_plan_is_loaded(two_hosts: World, family: int, plan: Plan) -> None:
    restore(two_hosts, family, plan)
    assert any("--dport 3478" in line for line in saved(two_hosts, family))
