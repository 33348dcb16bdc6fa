from __future__ import annotations

from dataclasses import replace

import pytest

from ginnel.core.doctor.causes import Cause, Grade
from ginnel.core.doctor.diagnosis import of_host
from ginnel.core.doctor.evidence import NameSeen, Port80, Probe
from ginnel.wire.doctor import RelayTold
from tests.core.doctor.world import (
    HOST,
    NETWORK,
    NEW_YORK,
    NYC,
    SERVER,
    all_443,
    end,
    host_cause,
    network,
    no_udp,
    one_relay,
)

DROPPED, RESET, REFUSED = (Probe("", kind, "why") for kind in ("silent-drop", "reset", "refused"))
OTHER_TLS = Probe("", "tls-interception", 'issued by "Corp"', "Corp")
LOST = replace(no_udp(all_443(DROPPED)), port80=Port80.SILENT)
BY_NAME = NameSeen("control.example", problem="DNS does not answer")
LIE = NameSeen("control.example", ("192.168.1.1",), ("192.0.2.9",), lied=True)
NO_HTTPS = tuple(replace(relay, https=None, stun=None) for relay in HOST.relays)

CASES = {
    "no default route": (replace(LOST, way_out=False), Cause.NO_INTERNET, "broken"),
    "nothing gets anywhere": (LOST, Cause.NO_INTERNET, "broken"),
    "no route of any family": (
        replace(no_udp(HOST), control=None, relays=NO_HTTPS, port80=Port80.SILENT),
        Cause.NO_INTERNET,
        "broken",
    ),
    "the router is dead": (replace(LOST, gateway_answers=False), Cause.NO_INTERNET, "broken"),
    "the resolver is silent": (
        replace(HOST, names=(BY_NAME,), control=Probe(SERVER, "dns-failure")),
        Cause.DNS_BROKEN,
        "degraded",
    ),
    "the resolver lies": (
        replace(HOST, names=(LIE,), control=replace(REFUSED, place=SERVER)),
        Cause.DNS_LIES,
        "degraded",
    ),
    "a portal": (replace(all_443(DROPPED), port80=Port80.FORGED), Cause.CAPTIVE_PORTAL, "broken"),
    "a portal that rejects": (replace(no_udp(all_443(RESET)), port80=Port80.FORGED), Cause.CAPTIVE_PORTAL, "broken"),
    "a portal that fakes 204": (
        replace(no_udp(all_443(RESET)), port80=Port80.STRIPPED),
        Cause.CAPTIVE_PORTAL,
        "broken",
    ),
    "a portal that the daemon found": (
        replace(one_relay(replace(DROPPED, place=NYC), stun=True), network=network(portal=True).network),
        Cause.CAPTIVE_PORTAL,
        "broken",
    ),
    "a proxy before port 80 alone": (replace(HOST, port80=Port80.FORGED), Cause.PORT80_BLOCKED, "healthy"),
    "all TLS is opened": (all_443(OTHER_TLS), Cause.TLS_INTERCEPTION, "broken"),
    "one relay's TLS is opened": (
        one_relay(replace(OTHER_TLS, place=NYC), stun=True),
        Cause.TLS_INTERCEPTION,
        "degraded",
    ),
    "443 is dropped": (all_443(DROPPED), Cause.HTTPS_BLOCKED, "broken"),
    "443 is reset": (all_443(RESET), Cause.HTTPS_BLOCKED, "broken"),
    "the server alone is dropped": (
        replace(HOST, control=replace(DROPPED, place=SERVER)),
        Cause.CONTROL_BLOCKED,
        "degraded",
    ),
    "the server refuses": (replace(HOST, control=replace(REFUSED, place=SERVER)), Cause.CONTROL_DOWN, "degraded"),
    "one relay is dropped, and its machine answers": (
        one_relay(replace(DROPPED, place=NYC), stun=True),
        Cause.RELAY_BLOCKED,
        "degraded",
    ),
    "one relay refuses": (one_relay(replace(REFUSED, place=NYC), stun=False), Cause.RELAY_DOWN, "degraded"),
    "UDP is dropped": (no_udp(HOST), Cause.UDP_BLOCKED, "degraded"),
    "STUN alone is dropped": (replace(no_udp(HOST), udp_elsewhere=True), Cause.STUN_BLOCKED, "degraded"),
    "the tunnel's port is dropped": (
        replace(HOST, network=end(NETWORK, udp=False)),
        Cause.TUNNEL_PORT_BLOCKED,
        "degraded",
    ),
    "our own rules refuse UDP": (replace(no_udp(HOST), udp_refused=True), Cause.HOST_FIREWALL, "degraded"),
    "port 80 is dropped": (replace(HOST, port80=Port80.SILENT), Cause.PORT80_BLOCKED, "healthy"),
    "IPv6 leads nowhere": (replace(HOST, global_v6=True), Cause.NO_IPV6, "healthy"),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_cause_comes_first(case):
    host, cause, verdict = CASES[case]
    assert host_cause(host) == (verdict, cause)


def test_a_proxy_that_strips_headers_is_no_portal_where_all_else_works():
    assert host_cause(replace(HOST, port80=Port80.STRIPPED)) == ("healthy", None)


def test_a_blocked_relay_is_named_with_the_peers_that_suffer():
    host = replace(one_relay(replace(DROPPED, place=NYC), stun=True), peers_of=((NEW_YORK, ("bob", "carol")),))
    finding = of_host(host).findings[0]
    assert finding.about == "region nyc (node 2a)"
    assert "unreachable by relay: bob, carol, whose home it is" in finding.evidence


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        (RelayTold(NEW_YORK, connected=True), Cause.RELAY_BLOCKED),
        (RelayTold(NEW_YORK, problem="timed out"), Cause.RELAY_DOWN),
    ],
    ids=["it reaches it", "it misses it too"],
)
def test_another_machine_tells_a_relay_that_is_down_from_one_that_is_blocked(told, cause):
    host = one_relay(replace(DROPPED, place=NYC), stun=False)
    assert host_cause(replace(host, witnesses=(end(NETWORK, relays=(told,)),)))[1] is cause


def test_another_machine_tells_a_server_that_is_down_from_one_that_is_blocked():
    cut = network(control=False)
    host = replace(cut, control=replace(REFUSED, place=SERVER), witnesses=(end(NETWORK, control=True),))
    assert host_cause(host)[1] is Cause.CONTROL_BLOCKED


def test_a_certificate_that_nobody_has_vouched_for_is_a_guess_and_no_fault():
    odd = Probe(SERVER, "wrong-certificate", "self-signed: self-signed certificate", "control")
    assert host_cause(replace(HOST, control=odd, control_trusted=False))[0] == "healthy"
    assert host_cause(replace(HOST, control=odd, control_trusted=True))[1] is Cause.TLS_INTERCEPTION


def test_what_a_portal_brings_about_is_told_as_less_likely():
    found = of_host(replace(all_443(DROPPED), port80=Port80.FORGED)).findings
    assert found[0].cause is Cause.CAPTIVE_PORTAL
    assert all(finding.confidence < 0.3 for finding in found[1:])


LYING = NameSeen("vpn.example", found=("203.0.113.9",), lied=True)


@pytest.mark.parametrize(("resolved", "command"), [(True, "resolvectl status"), (False, "cat /etc/resolv.conf")])
def test_who_lied_about_a_name_is_named(resolved, command):
    host = replace(HOST, names=(LYING,), resolvers=("192.168.1.1", "9.9.9.9"), gateways=("192.168.1.1",))
    found = of_host(replace(host, resolved=resolved)).findings[0]
    assert found.evidence[-1] == "asked by this machine: 192.168.1.1 (the router), 9.9.9.9"
    assert found.fix is not None
    assert found.fix.command == command


def test_a_proxy_that_is_named_here_stands_in_the_evidence():
    found = of_host(replace(all_443(DROPPED), proxy="proxy.example:3128")).findings[0]
    assert found.cause is Cause.HTTPS_BLOCKED
    assert any("proxy.example:3128" in line for line in found.evidence)


@pytest.mark.parametrize(("believes", "cause"), [(True, Cause.CONTROL_DOWN), (False, Cause.CONTROL_BLOCKED)])
def test_a_server_that_hangs_is_called_down_though_everybody_thinks_to_be_connected(believes, cause):
    stalls = replace(network(control=believes), control=Probe(SERVER, "timeout-after-connect", "nothing for 2.2 s"))
    said = of_host(replace(stalls, witnesses=(end(NETWORK, control=True),)))
    assert said.findings[0].cause is cause


@pytest.mark.parametrize(("https", "told"), [(Probe(NYC), True), (replace(DROPPED, place=NYC), False)])
def test_a_relay_that_is_silent_by_stun_alone_is_a_note(https, told):
    notes = [one for one in of_host(one_relay(https, stun=False)).findings if one.cause is Cause.STUN_BLOCKED]
    assert [(one.about, one.grade) for one in notes] == [("region nyc (node 2a)", Grade.NOTE)] * told
