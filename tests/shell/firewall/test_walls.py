"""Each kind of blocking by a real firewall between a host and 25 real relays."""

import os
from collections.abc import Iterator

import pytest

from ginnel.core.firewall.report import Around, NeedFound, Peer, Report, Result
from ginnel.core.firewall.report_text import report_lines
from ginnel.core.firewall.tried import Asked
from ginnel.core.firewall.verdict import Blocking
from ginnel.shell.firewall.verify import verify
from tests.shell.firewall.walled import REGIONS, Walled, derp_map, host_name, v4, v6, walled

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces are made here"),
]
PEERS = (Peer("alice", 901), Peer("bob", 902), Peer("carol", 902), Peer("dave", 903))


@pytest.fixture(scope="module")
def wall() -> Iterator[Walled]:
    with walled() as standing:
        yield standing


@pytest.fixture(autouse=True)
def _open(wall: Walled) -> Iterator[None]:
    names = dict(wall.names)
    yield
    wall.open()
    wall.names.clear()
    wall.names.update(names)


def tried(wall: Walled, count: int = 3, **changes: object) -> Report:
    asked = Asked(derp_map(count, **changes), source="a test", around=Around({902: "City 2"}, PEERS, 901))
    return wall.on_host(verify(asked, mark=0))


def need(report: Report, name: str) -> NeedFound:
    return next(one for one in report.needs if one.id == name)


def kinds(report: Report, name: str) -> set[Blocking | None]:
    """Of what failed."""
    return {
        check.blocking
        for reach in need(report, name).reaches
        for check in reach.checks
        if check.result is Result.FAILED
    }


def test_a_healthy_host_passes_all_within_5_seconds(wall: Walled) -> None:
    report = tried(wall, REGIONS)
    assert report.passed
    assert [(one.id, one.passed) for one in report.needs] == [
        ("https", True), ("tunnel", True), ("stun", True), ("portal", True)
    ]  # fmt: skip
    assert (report.lost, report.notes) == ((), ())
    assert report.seconds < 5
    assert report.tunnel == "from UDP port 41641 by a socket of this command's own"


def test_where_everything_is_dropped_it_ends_and_says_so(wall: Walled) -> None:
    wall.block("oifname eth0 drop")
    report = tried(wall, REGIONS)
    assert not report.passed
    assert report.complete
    assert report.seconds < 10
    assert kinds(report, "https") == {Blocking.SILENT_DROP, Blocking.DNS_FAILURE}
    assert len(report.lost) == REGIONS


def test_one_relay_blocked_names_the_region_the_node_and_who_suffers(wall: Walled) -> None:
    wall.block(f"ip daddr {v4(2)} tcp dport 443 drop", f"ip6 daddr {v6(2)} tcp dport 443 drop")
    report = tried(wall)
    assert not report.passed
    assert need(report, "https").passed is False
    assert (need(report, "stun").passed, need(report, "tunnel").passed) == (True, True)
    assert [(lost.region, lost.peers) for lost in report.lost] == [(902, ("bob", "carol"))]
    said = '  region 902 "r2" (node 902a) blocked (silent-drop): bob, carol cannot be relayed to'
    assert said in list(report_lines(report))


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("drop", Blocking.SILENT_DROP),
        ("reject with tcp reset", Blocking.REFUSED),
        ("reject with icmpx port-unreachable", Blocking.REFUSED),
        ("reject with icmpx admin-prohibited", Blocking.UNREACHABLE),
        ("reject with icmpx host-unreachable", Blocking.UNREACHABLE),
    ],
)
def test_each_way_to_say_no_to_https_is_told(wall: Walled, action: str, kind: Blocking) -> None:
    wall.block(f"tcp dport 443 {action}")
    report = tried(wall, 2)
    assert kinds(report, "https") == {kind}
    assert need(report, "stun").passed
    assert not report.passed


def test_dropped_stun_fails_stun_and_leaves_https(wall: Walled) -> None:
    wall.block("udp dport 3478 udp sport != 41641 drop")
    report = tried(wall, 2)
    assert kinds(report, "stun") == {Blocking.SILENT_DROP}
    assert (need(report, "https").passed, need(report, "tunnel").passed, report.passed) == (True, True, False)


def test_a_blocked_source_port_fails_the_tunnel_alone(wall: Walled) -> None:
    wall.block("udp sport 41641 drop")
    report = tried(wall, 2)
    assert [(one.id, one.passed) for one in report.needs] == [
        ("https", True), ("tunnel", False), ("stun", True), ("portal", True)
    ]  # fmt: skip
    assert kinds(report, "tunnel") == {Blocking.SILENT_DROP}
    assert not report.passed


def test_dropped_port_80_is_no_alarm(wall: Walled) -> None:
    wall.block("tcp dport 80 drop")
    report = tried(wall, 2)
    assert report.passed
    assert report.notes == ("captive portal detection unavailable (tcp/80 filtered)",)
    assert need(report, "portal").passed is False


def test_dead_ipv6_is_told_and_everything_works_by_ipv4(wall: Walled) -> None:
    wall.block("ip6 daddr 2001:db8:1::/64 meta l4proto { tcp, udp } drop")
    report = tried(wall, 2)
    assert report.passed
    assert any(note.startswith("IPv6 is dead for https") for note in report.notes)


def test_a_host_without_ipv6_is_healthy(wall: Walled) -> None:
    wall.host.run(["ip", "-6", "addr", "flush", "dev", "eth0"])
    try:
        report = tried(wall, 2)
    finally:
        wall.host.run(["ip", "-6", "addr", "add", "2001:db8:1::100/64", "dev", "eth0", "nodad"])
        wall.host.run(["ip", "-6", "route", "replace", "default", "via", v6(1)])
    assert report.passed
    assert report.notes == ()


def test_half_dead_one_family_of_one_relay_still_passes(wall: Walled) -> None:
    wall.block(f"ip daddr {v4(2)} tcp dport 443 drop")
    report = tried(wall)
    assert report.passed
    assert kinds(report, "https") == {Blocking.SILENT_DROP}


def test_a_name_that_leads_elsewhere_than_the_map_says_is_a_lie(wall: Walled) -> None:
    wall.names[host_name(2)] = ("203.0.113.9",)
    report = tried(wall)
    assert report.passed  # clients dial the map's addresses
    assert kinds(report, "https") == {Blocking.DNS_LIE}
    assert any("203.0.113.9, the map says 192.0.2.2" in note for note in report.notes)


def test_a_lie_about_a_relay_that_is_known_by_name_alone_costs_the_region(wall: Walled) -> None:
    wall.names[host_name(2)] = ("0.0.0.0",)
    report = tried(wall, ipv4="", ipv6="")
    assert [lost.region for lost in report.lost] == [902]
    assert need(report, "https").failed[0].worst.blocking is Blocking.DNS_LIE  # type: ignore[union-attr]


def test_names_that_dns_does_not_know_or_answer_are_failures_of_dns(wall: Walled) -> None:
    del wall.names[host_name(1)]
    wall.names[host_name(2)] = None
    report = tried(wall, ipv4="", ipv6="")
    assert [lost.region for lost in report.lost] == [901, 902]
    assert kinds(report, "https") == {Blocking.DNS_FAILURE}
    assert report.seconds < 8
