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


def test_a_port_that_firewalld_had_open_stays_open() -> None:
    there = "firewall-cmd -q --add-port=41641/udp\n"
    lines = with_firewalld(there + STEPS.partition("\n")[2].partition("\n")[2]).splitlines()
    assert lines[0] == "41641/udp"
    assert "41641/udp" in lines[-2]
