"""`ginnel netcheck` in real networks: NATs, blocked ports, portals. The wire is drawn in router.py."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.router import EASY, HARD, NO_UDP6, Network, standing_network, to_portal

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root and network namespaces")]

NO_UDP = ("meta l4proto udp drop",)
LOGIN_PAGE = "HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\nContent-Length: 0\r\n\r\n"
EMPTY_204 = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
FALSE_204 = "HTTP/1.1 204 No Content\r\nContent-Length: 17\r\n\r\n<html>pay</html>\n"
WRONG_ECHO = "HTTP/1.1 204 No Content\r\nX-Tailscale-Response: response ts_203.0.113.10\r\n\r\n"


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with standing_network() as network:
        yield network


@pytest.fixture
def no_udp6(network: Network) -> Iterator[None]:
    network.run("router", "nft", "-f", "-", stdin=NO_UDP6)
    yield
    network.run("router", "nft", "delete", "table", "ip6", "lab")


@pytest.mark.parametrize(("nat", "varies", "word"), [(EASY, False, "easy NAT"), (HARD, True, "hard NAT")])
def test_each_nat_is_called_by_its_name(network: Network, nat: str, varies: bool, word: str) -> None:
    network.rules(nat=nat)
    found = network.report()
    assert (found["UDP"], found["MappingVariesByDestIP"], found["CaptivePortal"]) == (True, varies, None)
    assert re.fullmatch(r"203\.0\.113\.1:\d+", found["GlobalV4"])
    assert re.fullmatch(r"\[2001:db8:7::2\]:\d+", found["GlobalV6"])
    assert found["RegionLatency"].keys() == found["RegionV6Latency"].keys() == {"900", "901"}
    network.rules(nat=nat)
    text = network.netcheck().stdout
    assert re.search(r"^\t\* IPv4: yes, 203\.0\.113\.1:\d+$", text, re.M)
    assert f"\t* MappingVariesByDestIP: {str(varies).lower()}\n" in text
    assert f"\t* NAT: {word} (" in text
    assert re.search(r"^\t\* Nearest DERP: Region 90[01]$", text, re.M)


def test_one_relay_alone_says_nothing_of_the_nat(network: Network, tmp_path: Path) -> None:
    network.rules(nat=HARD)
    single = json.loads(network.map.read_text())
    del single["Regions"]["901"]
    (tmp_path / "map.json").write_text(json.dumps(single))
    found = network.report("--derp-map", str(tmp_path / "map.json"))
    assert (found["UDP"], found["MappingVariesByDestIP"]) == (True, None)


def test_where_udp_is_blocked_https_and_icmp_find_the_relay(network: Network, no_udp6: None) -> None:
    network.rules(nat=EASY, drop=NO_UDP)
    began = time.monotonic()
    found = network.report()
    assert time.monotonic() - began < 4.0
    assert (found["UDP"], found["IPv4"], found["ICMPv4"], found["OSHasIPv6"]) == (False, True, True, True)
    assert found["PreferredDERP"] in (900, 901)
    assert found["RegionLatency"].keys() == {"900", "901"}
    assert found["CaptivePortal"] is False
    network.rules(nat=EASY, drop=(*NO_UDP, "meta l4proto icmp drop"))
    assert network.report()["ICMPv4"] is False


def test_where_only_stun_is_blocked_it_is_the_same(network: Network, no_udp6: None) -> None:
    network.rules(nat=EASY, drop=("udp dport 3478 drop",))
    found = network.report()
    assert (found["UDP"], found["CaptivePortal"]) == (False, False)
    assert found["RegionLatency"].keys() == {"900", "901"}


@pytest.mark.parametrize(
    ("page", "verdict"),
    [(LOGIN_PAGE, True), (FALSE_204, True), (WRONG_ECHO, True), (EMPTY_204, False), ("HTTP/1.1 503 x\r\n\r\n", None)],
    ids=["redirect", "204 with a body", "wrong echo", "stripped header", "overload"],
)
def test_a_portal_is_told_from_a_proxy(network: Network, no_udp6: None, page: str, verdict: bool | None) -> None:
    network.rules(nat=EASY, drop=NO_UDP, redirect=to_portal())
    with network.false_page(page):
        assert network.report()["CaptivePortal"] is verdict
        shown = [line for line in network.netcheck().stdout.splitlines() if "aptive" in line]
    assert (
        shown
        == {
            True: ["\t* CaptivePortal: true"],
            False: ["\t* CaptivePortal: false"],
            None: ["\t* Captive portal detection: unavailable: no relay could be asked on TCP port 80"],
        }[verdict]
    )


def test_a_204_without_the_challenge_is_a_portal_where_nothing_else_gets_through(
    network: Network, no_udp6: None
) -> None:
    network.rules(nat=EASY, drop=(*NO_UDP, "tcp dport 443 drop"), redirect=to_portal())
    network.run("router", "nft", "add rule ip6 lab f tcp dport 443 drop")
    with network.false_page(EMPTY_204):
        assert network.report()["CaptivePortal"] is True


def test_only_relays_are_asked_and_only_for_generate_204(network: Network, no_udp6: None) -> None:
    network.rules(nat=EASY, drop=NO_UDP, redirect=to_portal("meta l4proto tcp tcp dport != 443"))
    with network.false_page(EMPTY_204) as page:
        network.report()
        page.kill()
        assert page.stdout is not None
        lines = page.stdout.read().splitlines()
    assert len(lines) == 2
    assert all(re.fullmatch(r"GET /generate_204\?t=ts_[0-9a-f]{16} HTTP/1\.1", line) for line in lines)


def test_where_port_80_is_dropped_too_the_report_comes_within_its_time_and_without_alarm(
    network: Network, no_udp6: None
) -> None:
    network.rules(nat=EASY, drop=(*NO_UDP, "tcp dport 80 drop"))
    began = time.monotonic()
    found = network.report()
    assert time.monotonic() - began < 7.0
    assert found["CaptivePortal"] is None
    assert found["PreferredDERP"] in (900, 901)


def test_where_nothing_answers_the_status_is_1_and_one_line_says_why(network: Network, no_udp6: None) -> None:
    network.rules(nat=EASY, drop=("drop",))
    network.run("router", "nft", "add rule ip6 lab f drop")
    done = network.netcheck()
    assert done.returncode == 1
    assert "\t* Nearest DERP: unknown (no response to latency probes)\n" in done.stdout
    assert done.stderr.startswith("no relay answers by UDP, ICMP or HTTPS")
    assert done.stderr.count("\n") == 1


def test_a_chosen_address_and_port_are_what_is_sent_from(network: Network) -> None:
    network.rules(nat=EASY)
    assert network.report("--bind-port", "47001")["GlobalV4"] == "203.0.113.1:47001"
    found = network.report("--bind-address", "2001:db8:7::2", "--bind-port", "47002")
    assert (found["GlobalV6"], found["GlobalV4"], found["IPv4"]) == ("[2001:db8:7::2]:47002", "", False)
    refused = network.netcheck("--bind-address", "192.0.2.99")
    assert refused.returncode == 1
    assert "cannot send from 192.0.2.99" in refused.stderr


def test_every_repeats_shortly_and_keeps_home(network: Network) -> None:
    network.rules(nat=EASY)
    program = network.start(
        "node", "from ginnel.cli.main import main; main()", "netcheck", "--derp-map", str(network.map),
        "--format", "json-line", "--every", "100ms",
    )  # fmt: skip
    assert program.stdout is not None
    reports = [json.loads(program.stdout.readline()) for _ in range(4)]
    network.stop(program)
    assert len({found["PreferredDERP"] for found in reports}) == 1
    assert len({found["GlobalV4"] for found in reports}) == 1


def test_stun_goes_to_the_relays_of_the_map_alone(network: Network) -> None:
    relays = "{ 203.0.113.10, 203.0.113.11 }"
    watch = (
        "udp dport 3478 counter",
        f"ip daddr != {relays} meta l4proto {{ tcp, udp, icmp }} ct direction original counter",
    )
    network.rules(nat=EASY, drop=watch)
    network.report("--verbose")
    listed = network.run("router", "nft", "list", "chain", "ip", "lab", "forward").stdout
    counted = [int(number) for number in re.findall(r"counter packets (\d+)", listed)]
    assert counted[0] >= 2
    assert counted[1] == 0
