"""firewalld: the commands are run against a firewalld of the test's own that drops what goes out, and then tried.

The bus, /run and /etc/firewalld are the test's; firewalld is told to leave its rules when it ends.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ginnel.core.firewall.formats.table import FORMATS
from ginnel.core.firewall.needs import Plan
from tests.core.firewall.formats.plans import ANY_PORT, ONLY_IPV4, PINNED, RECOMMENDED
from tests.core.firewall.formats.world import World, everything_passes, inside_the_mesh, what_gets_in, what_passes

pytestmark = pytest.mark.root
FIREWALLD = FORMATS["firewalld"]
RUNNING = """
mkdir /run/dbus
cp -a /etc/firewalld "$1/etc"
sed -i 's/^CleanupOnExit=.*/CleanupOnExit=no/' "$1/etc/firewalld.conf"
mount --bind "$1/etc" /etc/firewalld
dbus-daemon --system --nofork --nopidfile & bus=$!
trap 'kill $daemon $bus; wait' EXIT
until test -S /run/dbus/system_bus_socket; do kill -0 $bus; done
firewalld --nofork --nopid --log-file="$1/log" & daemon=$!
until firewall-cmd --state >/dev/null 2>&1; do kill -0 $daemon; done
for each in --new-policy=deny --policy=deny\\ --add-ingress-zone=HOST --policy=deny\\ --add-egress-zone=ANY \
  --policy=deny\\ --set-target=DROP; do firewall-cmd --permanent $each; done
firewall-cmd --reload
"""


def run(world: World, directory: Path, text: str) -> None:
    (directory / "rules.sh").write_text(text)
    world.script(f'{RUNNING}sh -e "$1/rules.sh"', str(directory))


def test_what_the_plan_names_passes_beside_a_default_deny_and_nothing_else(two_hosts: World, tmp_path: Path) -> None:
    run(two_hosts, tmp_path, FIREWALLD.render(RECOMMENDED))
    for family in (4, 6):
        what_passes(two_hosts, family)
        what_gets_in(two_hosts, family)


def test_what_runs_inside_the_mesh_passes_once_its_lines_are_uncommented(two_hosts: World, tmp_path: Path) -> None:
    run(two_hosts, tmp_path, inside_the_mesh(FIREWALLD.render(only(RECOMMENDED, "https")), "eth0"))
    for family in (4, 6):
        everything_passes(two_hosts, family)


OFFLINE = """
cp -a /etc/firewalld "$1/etc"
mount --bind "$1/etc" /etc/firewalld
mkdir /run/bin
cat >/run/bin/firewall-cmd <<'END'
#!/bin/sh
case "$1" in --permanent) shift; exec firewall-offline-cmd "$@" ;; esac
END
chmod +x /run/bin/firewall-cmd
export PATH="/run/bin:$PATH"
"""
LOOK = """
firewall-offline-cmd --check-config
firewall-offline-cmd --info-policy=ginnel-out
"""


def only(plan: Plan, *ids: str) -> Plan:
    """Each command starts a Python: few needs, of few hosts, say as much."""
    return replace(plan, needs=tuple(replace(need, hosts=need.hosts[-1:]) for need in plan.needs if need.id in ids))


def take(world: World, directory: Path, text: str, times: int, then: str = "") -> str:
    (directory / "rules.sh").write_text(text)
    return world.script(OFFLINE + 'sh -e "$1/rules.sh"\n' * times + LOOK + then, str(directory))


BACK = """
echo BACK
eval "$(sed -n 's/^# remove: //p' "$1/rules.sh" | sed "s|FILE|$1/rules.sh|; s/sudo //g")"
find /etc/firewalld/policies /etc/firewalld/ipsets -name "*.xml"
"""


def test_a_second_run_replaces_the_first_and_what_is_taken_back_leaves_nothing(
    two_hosts: World, tmp_path: Path
) -> None:
    text = inside_the_mesh(FIREWALLD.render(only(PINNED, "stun")), "eth0")
    made, _, left = take(two_hosts, tmp_path, text, times=2, then=BACK).partition("BACK")
    assert made.count('rule family="ipv6" destination ipset="ginnel-stun-v6"') == 1
    assert "success" in left
    assert "ginnel" not in left


@pytest.mark.parametrize("plan", [ANY_PORT, ONLY_IPV4], ids=["any port", "only IPv4"])
def test_every_plan_is_taken(two_hosts: World, tmp_path: Path, plan: Plan) -> None:
    assert "3478" in take(two_hosts, tmp_path, FIREWALLD.render(only(plan, "tunnel", "stun")), times=1)
