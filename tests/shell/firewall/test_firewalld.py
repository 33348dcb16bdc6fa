"""`firewall open` and `close` with a real firewalld."""

from __future__ import annotations

import shlex
import sys

import pytest

from tests.shell.firewall.firewalld import with_firewalld
from tests.shell.firewall.hosts import SOURCE, program

pytestmark = pytest.mark.root

GINNEL = f"PYTHONPATH={shlex.quote(str(SOURCE))} {shlex.join(program())} firewall"
STEPS = f"""
{GINNEL} open --state /run/state --socket /nowhere --dry-run
firewall-cmd --list-ports
{GINNEL} open --state /run/state --socket /nowhere >/run/said
firewall-cmd --list-ports; firewall-cmd --permanent --list-ports
{GINNEL} open --state /run/state --socket /nowhere
{GINNEL} close --state /run/state >/run/said
firewall-cmd --list-ports; firewall-cmd --permanent --list-ports
"""


def test_firewalld_is_opened_for_now_and_for_later_and_closed_again() -> None:
    assert sys.executable in GINNEL
    assert with_firewalld(STEPS).splitlines() == [
        "sudo firewall-cmd --add-port=41641/udp",
        "sudo firewall-cmd --permanent --add-port=41641/udp",
        "",
        "41641/udp",
        "41641/udp",
        "the port is open already: nothing was changed",
        "",
        "",
    ]


MAKE = (
    "import asyncio; from ginnel.shell.firewall.sets import SetError\n"
    "from ginnel.shell.firewall.sets.firewalld import FirewalldSet\n"
    "try: asyncio.run(FirewalldSet.parse('g4,g6').prepare())\n"
    "except SetError as error: print(error)\n"
)
MAKE_IT = f"PYTHONPATH={shlex.quote(str(SOURCE))} {sys.executable} -c {shlex.quote(MAKE)}"
RUNTIME = (
    "--add-port=9999/tcp",
    "--zone=work --add-rich-rule='rule family=ipv4 source address=192.0.2.0/24 drop'",
    "--direct --add-rule ipv4 filter INPUT 0 -p tcp --dport 9998 -j DROP",
    "--zone=drop --add-source=198.51.100.0/24",
)


def test_a_set_is_not_made_at_the_price_of_rules_that_are_not_permanent() -> None:
    steps = "".join(
        f"firewall-cmd -q {rule}; {MAKE_IT}; firewall-cmd {rule.replace('--add-', '--query-')};"
        f"firewall-cmd -q {rule.replace('--add-', '--remove-')}\n"
        for rule in RUNTIME
    )
    kept = (
        f"firewall-cmd -q {RUNTIME[0]}; firewall-cmd -q --runtime-to-permanent\n{MAKE_IT}; firewall-cmd --list-ports\n"
    )
    *refused, ports = with_firewalld(steps + "firewall-cmd --permanent --get-ipsets\n" + kept).splitlines()
    for said, there in zip(refused[::2], refused[1::2], strict=False):
        assert said.startswith("to make g4 and g6 firewalld must reload, which drops what is not permanent (")
        assert there == "yes"
    assert refused[2 * len(RUNTIME) :] == [""], "no set was made"
    assert ports == "9999/tcp"


def test_a_set_is_made_where_nothing_is_lost_by_it_and_not_twice() -> None:
    steps = f"{MAKE_IT}; {MAKE_IT}\nfirewall-cmd --get-ipsets; firewall-cmd --permanent --get-ipsets\n"
    assert [line.split() for line in with_firewalld(steps).splitlines()] == [["g4", "g6"]] * 2


def test_a_port_that_firewalld_had_open_stays_open() -> None:
    there = "firewall-cmd -q --add-port=41641/udp\n"
    lines = with_firewalld(there + STEPS.partition("\n")[2].partition("\n")[2]).splitlines()
    assert lines[0] == "41641/udp"
    assert "41641/udp" in lines[-2]
