"""ufw: the commands are run by a ufw that denies both ways, with an /etc/ufw of its own, and then tried."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ginnel.core.firewall.formats.table import FORMATS
from ginnel.core.firewall.needs import Plan
from tests.core.firewall.formats.plans import ANY_PORT, ONLY_IPV4, PINNED, RECOMMENDED
from tests.core.firewall.formats.world import World, everything_passes, inside_the_mesh, what_gets_in, what_passes

UFW = FORMATS["ufw"]
OWN_ETC = """
cp -a /etc/ufw "$1/ufw" && cp /etc/default/ufw "$1/default"
mount --bind "$1/ufw" /etc/ufw && mount --bind "$1/default" /etc/default/ufw
ufw default deny outgoing && ufw default deny incoming && ufw --force enable
sh -e "$1/rules.sh"
ufw status
"""


def run(world: World, directory: Path, plan: Plan) -> str:
    (directory / "rules.sh").write_text(UFW.render(plan))
    return world.script(OWN_ETC, str(directory))


@pytest.mark.root
def test_what_the_plan_names_passes_beside_a_default_deny_and_nothing_else(two_hosts: World, tmp_path: Path) -> None:
    run(two_hosts, tmp_path, RECOMMENDED)
    for family in (4, 6):
        what_passes(two_hosts, family)
        what_gets_in(two_hosts, family)


@pytest.mark.root
def test_what_runs_inside_the_mesh_passes_once_its_lines_are_uncommented(two_hosts: World, tmp_path: Path) -> None:
    (tmp_path / "rules.sh").write_text(inside_the_mesh(UFW.render(RECOMMENDED), "eth0"))
    two_hosts.script(OWN_ETC, str(tmp_path))
    for family in (4, 6):
        everything_passes(two_hosts, family)


TWICE_AND_BACK = OWN_ETC.replace(
    "ufw status\n",
    """
ufw allow out proto tcp to any port 25 comment 'mine'
rules() { cat /etc/ufw/user.rules /etc/ufw/user6.rules; }
rules >"$1/once"
sh -e "$1/rules.sh"
rules >"$1/twice"
eval "$(sed -n 's/^# remove: //p' "$1/rules.sh" | sed "s|FILE|$1/rules.sh|; s/sudo //")"
ufw status
""",
)


@pytest.mark.root
def test_a_second_run_doubles_nothing_and_what_is_taken_back_leaves_the_users_own_rules(
    two_hosts: World, tmp_path: Path
) -> None:
    few = replace(PINNED, needs=tuple(replace(need, hosts=need.hosts[-1:]) for need in PINNED.needs))
    (tmp_path / "rules.sh").write_text(UFW.render(few))
    listed = two_hosts.script(TWICE_AND_BACK, str(tmp_path)).rpartition("Status: active")[2]
    assert (tmp_path / "once").read_text() == (tmp_path / "twice").read_text()
    assert "41641" in (tmp_path / "once").read_text()
    assert "mine" in listed
    assert "ginnel" not in listed
    assert "41641" not in listed


@pytest.mark.root
@pytest.mark.parametrize("plan", [PINNED, ANY_PORT, ONLY_IPV4], ids=["pinned", "any port", "only IPv4"])
def test_every_plan_is_taken(two_hosts: World, tmp_path: Path, plan: Plan) -> None:
    few = replace(plan, needs=tuple(replace(need, hosts=need.hosts[-1:]) for need in plan.needs))
    listed = run(two_hosts, tmp_path, few)
    assert "3478/udp" in listed
    assert "ginnel tunnel" in listed


def test_the_way_in_is_the_command_of_the_documents() -> None:
    commands = [line for line in UFW.inbound(RECOMMENDED).splitlines() if not line.startswith("#")]
    assert commands == ["ufw allow 41641/udp"]
