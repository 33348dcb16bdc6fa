from dataclasses import replace

import pytest

from ginnel.core.doctor.causes import Cause, Grade
from ginnel.core.doctor.diagnosis import members, of_host, of_pair
from ginnel.core.doctor.evidence import Port80
from ginnel.wire.doctor import FirewallTold, Stopped
from tests.core.doctor.test_network import DROPPED
from tests.core.doctor.world import HOST, NETWORK, PAIR, THEIRS, all_443, end, first, no_udp

RULE = "policy drop (table inet filter, chain output)"
OPENS = "sudo nft insert rule inet filter output oifname ginnel0 accept"


def stops(*needs: str, backend: str = "nftables", opens: str = "") -> FirewallTold:
    return FirewallTold(backend, closed=False, stopped=tuple(Stopped(need, RULE, opens) for need in needs))


def walled(told: FirewallTold):
    """Nothing gets out of this machine, by its own rules."""
    silent = replace(no_udp(all_443(DROPPED)), port80=Port80.SILENT, firewall=told)
    return replace(silent, network=end(silent.network, firewall=told), udp_refused=True)


@pytest.mark.parametrize(
    ("backend", "command"),
    [
        ("ufw", "ginnel firewall rules --format ufw | sudo sh"),
        ("firewalld", "ginnel firewall rules --format firewalld | sudo sh"),
        ("nftables", "ginnel firewall rules --format nftables"),
        ("iptables", "ginnel firewall rules --format iptables"),
        ("none", "ginnel firewall rules --format plain"),
    ],
)
def test_one_firewall_is_one_cause_with_the_rules_that_let_all_of_it_out(backend, command):
    found = of_host(walled(stops("https", "stun", "tunnel", backend=backend))).findings
    assert found[0].cause is Cause.HOST_FIREWALL
    assert found[0].fix.command == command
    assert len(found[0].evidence) == 3
    assert all(RULE in line for line in found[0].evidence)
    assert all(one.confidence < 0.25 or one.grade is Grade.NOTE for one in found[1:])


def test_without_the_rules_the_kernels_refusal_tells():
    host = walled(FirewallTold(closed=None))
    assert first(of_host(host)) is Cause.HOST_FIREWALL


def test_a_firewall_that_keeps_programs_out_of_the_tunnel_is_a_fault():
    host = replace(HOST, network=end(NETWORK, firewall=stops("inside-out", opens=OPENS)))
    said = of_host(host)
    assert (said.verdict, first(said), said.findings[0].fix.command) == ("degraded", Cause.HOST_FIREWALL, OPENS)
    assert first(of_pair(replace(PAIR, host=host))) is Cause.HOST_FIREWALL


def test_a_firewall_that_accepts_no_connection_from_the_mesh_is_told_and_is_no_fault():
    said = of_host(replace(HOST, network=end(NETWORK, firewall=stops("inside-in", opens=OPENS))))
    assert (said.verdict, first(said), said.findings[0].grade) == ("healthy", Cause.HOST_FIREWALL, Grade.NOTE)


@pytest.mark.parametrize(("need", "verdict"), [("inside-out", "degraded"), ("inside-in", "healthy")])
def test_the_peers_firewall_inside_the_tunnel_is_told_too(need, verdict):
    said = of_pair(replace(PAIR, theirs=end(THEIRS, firewall=stops(need))))
    assert (said.verdict, first(said)) == (verdict, Cause.PEER_HOST_FIREWALL)


def test_a_port_that_is_closed_to_strangers_is_a_note_on_a_machine_alone():
    told = FirewallTold("ufw", closed=True, rule=RULE, opens="sudo ufw allow 41641/udp")
    said = members(of_host(replace(HOST, network=end(NETWORK, firewall=told))))
    assert said["verdict"] == "healthy"
    [cause] = said["causes"]
    assert (cause["cause"], cause["grade"]) == ("host-firewall", "note")
    assert cause["fix"]["command"] == "sudo ufw allow 41641/udp"


def test_others_hear_that_something_is_stopped_and_not_by_which_rule():
    told = FirewallTold("ufw", closed=True, rule=RULE, opens=OPENS, stopped=(Stopped("https", RULE, OPENS),))
    assert told.without_rules() == FirewallTold("ufw", closed=True, stopped=(Stopped("https"),))
