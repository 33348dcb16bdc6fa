"""What the doctor hears of this machine's own firewall, from real rules in a namespace."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from ginnel.core.firewall.own_rules import INSIDE_IN
from ginnel.lab.namespace import Inside, enter_network, run
from ginnel.shell.doctor import host_firewall
from ginnel.shell.doctor.host_firewall import HostFirewall, look
from ginnel.shell.node.links import Links
from ginnel.wire.doctor import FirewallTold
from tests.shell.firewall.hosts import Host, host

pytestmark = pytest.mark.root
DROP = "table inet t { chain c { type filter hook input priority 0; policy drop; ct state established accept; }; }"
PORT, TUN, MESH = 41641, "ginnel0", (ip_address("100.64.0.1"),)
ENOUGH = 1500  # rules: more than a pipe holds at once


@pytest.fixture
def inside() -> Iterator[Inside]:
    name = f"gd{os.getpid()}"
    run(["ip", "netns", "add", name])
    made = Inside(name, lambda: enter_network(name))
    yield made
    made.close()
    run(["ip", "netns", "del", name])


def seen(inside: Inside, rules: str = "") -> FirewallTold | None:
    if rules:
        inside.call(run, ["nft", "-f", "-"], rules + "\n")
    return inside.call(look, PORT, Links(), TUN, MESH)


def test_no_rules_close_nothing(inside: Inside) -> None:
    assert seen(inside) == FirewallTold("none", closed=False)


def test_rules_that_drop_are_told_with_the_command_that_opens(inside: Inside) -> None:
    told = seen(inside, DROP)
    assert told is not None
    assert (told.backend, told.closed, told.rule) == ("nftables", True, "policy drop (table inet t, chain c)")
    assert told.opens.startswith("sudo nft add rule inet t c udp dport 41641 accept")
    assert [one.need for one in told.stopped] == ["inside-in"]
    inside.call(run, ["sh", "-c", told.opens.removeprefix("sudo ")])
    inside.call(run, ["sh", "-c", told.stopped[0].opens.removeprefix("sudo ")])
    assert seen(inside) == FirewallTold("none", closed=False)


def test_the_last_of_many_rules_counts(inside: Inside) -> None:
    many = "".join(f"ip saddr 192.0.2.{n % 256} udp dport {1000 + n} accept\n" for n in range(ENOUGH))
    chain = f"chain c {{ type filter hook input priority 0; policy accept;\n{many}udp dport {PORT} drop\n}}"
    told = seen(inside, f"table inet t {{ {chain}\n}}")
    assert told is not None
    assert (told.closed, told.rule) == (True, f"udp dport {PORT} drop (table inet t, chain c)")


PAGE = (Path(__file__).parents[3] / "docs/firewall.md").read_text()
LOOK = """
from ipaddress import ip_address
from ginnel.shell.doctor.host_firewall import look
from ginnel.shell.node.links import Links
told = look(41641, Links(), "ginnel0", [ip_address("100.64.0.1")])
print(*(f"{one.need}: {one.opens}" for one in told.stopped), sep="\\n")
"""
ANSWERS = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
DENYING = {
    "ufw": "ufw --force enable",
    "nftables": "nft 'add table inet filter; add chain inet filter input { type filter hook input priority 0; "
    "policy drop; }; add rule inet filter input ct state established accept'",
    "iptables": f"iptables -A INPUT {ANSWERS} && iptables -P INPUT DROP",
}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path) as made:
        made.with_ufw()
        yield made


@pytest.mark.parametrize("firewall", DENYING)
def test_what_runs_inside_the_mesh_passes_after_the_command_of_the_page(machine: Host, firewall: str) -> None:
    machine.run("sh", "-c", DENYING[firewall])
    [line] = machine.run(sys.executable, "-c", LOOK).splitlines()
    need, _, command = line.partition(": ")
    assert need == INSIDE_IN.id
    assert f"| {firewall} | `{command}`" in PAGE
    machine.run(*shlex.split(command)[1:])
    assert machine.run(sys.executable, "-c", LOOK).strip() == ""


async def test_whoever_asks_does_not_wait_for_a_slow_look_and_the_next_one_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going = threading.Event()
    monkeypatch.setattr(host_firewall, "look", lambda *_: going.wait() and FirewallTold("ufw"))
    monkeypatch.setattr(host_firewall, "PATIENCE", 0.01)
    firewall = HostFirewall(TUN)
    assert await firewall.look(PORT, Links(), MESH) is None
    assert await firewall.look(PORT, Links(), MESH) is None
    going.set()
    monkeypatch.setattr(host_firewall, "PATIENCE", 30.0)
    assert await firewall.look(PORT, Links(), MESH) == FirewallTold("ufw")
    monkeypatch.setattr(host_firewall, "look", lambda *_: None)
    assert await firewall.look(PORT, Links(), MESH) == FirewallTold("ufw")
    assert asyncio.all_tasks() == {asyncio.current_task()}
