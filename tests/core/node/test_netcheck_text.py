from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ginnel.core.node.netcheck_report import Report
from ginnel.core.node.netcheck_text import go_duration, report_json, report_line, report_text
from ginnel.wire.tailcfg import DERPMap, DERPRegion
from ginnel.words import Endpoint, RegionId

WHEN = datetime(2026, 11, 22, 7, 1, 14, 123450, UTC)
MAP = DERPMap(regions={1: DERPRegion(1, "nyc", "New York City"), 2: DERPRegion(2, "fra", "Frankfurt")})
V4 = Endpoint.parse("203.0.113.7:41641")
FULL = Report(
    udp=True,
    ipv4=True,
    ipv4_can_send=True,
    os_has_ipv6=True,
    mapping_varies_by_dest_ip=False,
    upnp=True,
    pmp=False,
    pcp=True,
    preferred_derp=RegionId(1),
    region_latency={RegionId(1): 0.01234},
    region_v4_latency={RegionId(1): 0.01234},
    global_v4=V4,
    counters_v4={V4: 2},
    captive_portal=False,
)


def test_the_text_has_tailscales_layout_and_the_word_for_the_nat() -> None:
    assert report_text(FULL, MAP, WHEN) == (
        "\nReport:\n"
        "\t* Time: 2026-11-22T07:01:14.12345Z\n"
        "\t* UDP: true\n"
        "\t* IPv4: yes, 203.0.113.7:41641\n"
        "\t* IPv6: no, but OS has support\n"
        "\t* MappingVariesByDestIP: false\n"
        "\t* NAT: easy NAT (one port for all destinations: direct paths need no open port)\n"
        "\t* PortMapping: UPnP, PCP\n"
        "\t* CaptivePortal: false\n"
        "\t* Nearest DERP: New York City\n"
        "\t* DERP latency:\n"
        "\t\t- nyc: 12.3ms  (New York City)\n"
        "\t\t- fra:         (Frankfurt)\n"
    )


def test_a_machine_without_network_is_told_so() -> None:
    text = report_text(Report(), MAP, WHEN.astimezone(timezone(timedelta(hours=5, minutes=30))))
    assert "\t* Time: 2026-11-22T07:01:14.12345Z\n" in text
    assert "\t* IPv4: (no addr found)\n\t* IPv6: no, unavailable in OS\n\t* MappingVariesByDestIP: \n" in text
    assert "\t* PortMapping: not checked\n\t* Nearest DERP: unknown (no response to latency probes)\n" in text
    assert "UDP is blocked" in text


def test_the_hard_nat_is_named_with_what_to_do() -> None:
    assert "hard NAT (another port for each destination: open one UDP port" in report_text(
        Report(udp=True, mapping_varies_by_dest_ip=True), MAP, WHEN
    )


def test_json_has_gos_names_and_nanoseconds() -> None:
    json = report_json(FULL, WHEN)
    assert json["RegionLatency"] == {"1": 12340000}
    assert json["GlobalV4Counters"] == {"203.0.113.7:41641": 2}
    assert json["GlobalV6Counters"] is None
    assert (json["GlobalV4"], json["GlobalV6"], json["CaptivePortal"]) == ("203.0.113.7:41641", "", False)
    assert (json["UPnP"], json["PMP"], json["PCP"]) == (True, False, True)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0123, "12.3ms"), (0.0009, "900µs"), (1.5, "1.5s"), (0.012, "12ms"), (0.0, "0s")]
)
def test_latencies_as_go_prints_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


GOLDEN = json.loads((Path(__file__).parents[2] / "vectors/netcheck/official-1.98.9.json").read_text())["cases"]
REGIONS = DERPMap(regions={n: DERPRegion(n, f"r{n}", f"Region {n}") for n in (900, 901)})
OURS_ALONE = ("\t* NAT: ", "\t* Captive portal detection: ")


def as_report(members: dict[str, Any]) -> Report:
    """What the official program found, as ours would hold it."""

    def latency(name: str) -> dict[RegionId, float]:
        return {RegionId(int(region)): nanoseconds / 1e9 for region, nanoseconds in members[name].items()}

    def counters(name: str) -> dict[Endpoint, int]:
        return {Endpoint.parse(text): times for text, times in (members[name] or {}).items()}

    return Report(
        udp=members["UDP"],
        ipv4=members["IPv4"],
        ipv6=members["IPv6"],
        ipv4_can_send=members["IPv4CanSend"],
        ipv6_can_send=members["IPv6CanSend"],
        os_has_ipv6=members["OSHasIPv6"],
        icmpv4=members["ICMPv4"],
        mapping_varies_by_dest_ip=members["MappingVariesByDestIP"],
        upnp=members["UPnP"],
        pmp=members["PMP"],
        pcp=members["PCP"],
        preferred_derp=RegionId(members["PreferredDERP"]),
        region_latency=latency("RegionLatency"),
        region_v4_latency=latency("RegionV4Latency"),
        region_v6_latency=latency("RegionV6Latency"),
        global_v4=Endpoint.parse(members["GlobalV4"]) if members["GlobalV4"] else None,
        global_v6=Endpoint.parse(members["GlobalV6"]) if members["GlobalV6"] else None,
        counters_v4=counters("GlobalV4Counters"),
        counters_v6=counters("GlobalV6Counters"),
        captive_portal=members["CaptivePortal"],
    )


def shape(line: str) -> str:
    """A line without the figures that differ from run to run."""
    line = re.sub(r"\d+(?:\.\d+)?(?:ms|µs|s)\b *", "TIME ", line)
    line = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "NOW", line)
    return re.sub(r"(?<=[\d\]]):\d{4,5}\b", ":PORT", re.sub(r"90[01]", "90N", line))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_json_is_what_the_official_program_writes_of_the_same_findings(case: dict[str, str]) -> None:
    theirs = json.loads(case["json"])
    when = datetime.fromisoformat(theirs["Now"][:26] + "+00:00")
    ours = report_json(as_report(theirs), when)
    assert list(ours) == list(theirs)
    assert ours | {"Now": 0} == theirs | {"Now": 0}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", str(ours["Now"]))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_text_has_the_official_programs_lines_and_adds_its_own_between(case: dict[str, str]) -> None:
    found = as_report(json.loads(case["json"]))
    if "CaptivePortal" in case["text"]:  # its text and its JSON come from two runs
        found = dataclasses.replace(found, captive_portal=False)
    else:
        found = dataclasses.replace(found, captive_portal=None)
    ours = [line for line in report_text(found, REGIONS, WHEN).splitlines() if not line.startswith(OURS_ALONE)]
    by_chance = "IPv6" if case["name"] == "udp-blocked" else None  # which version of IP its HTTPS took

    def shapes(lines: list[str]) -> list[str]:
        return [shape(line) for line in lines if by_chance is None or by_chance not in line]

    assert shapes(ours) == shapes(case["text"].splitlines())


def test_a_nat_that_one_server_cannot_name_is_called_unknown() -> None:
    text = report_text(Report(udp=True, ipv4=True), MAP, WHEN)
    assert (
        "\t* MappingVariesByDestIP: \n\t* NAT: not known: one STUN address cannot tell easy from hard; add a relay"
        in text
    )


def test_port_80_that_nobody_answers_is_told_without_alarm() -> None:
    text = report_text(Report(captive_filtered=True), MAP, WHEN)
    assert "\t* Captive portal detection: unavailable: no relay could be asked on TCP port 80\n" in text
    assert "CaptivePortal" not in text


def test_the_line_for_logs() -> None:
    assert report_line(FULL) == (
        "report: udp=true v6=false v6os=true mapvarydest=false portmap=UC v4a=203.0.113.7:41641 captiveportal=false "
        "derp=1 derpdist=1v4:12ms"
    )
    assert (
        report_line(Report())
        == "report: udp=false v4=false icmpv4=false v6=false v6os=false mapvarydest= portmap=? derp=0"
    )
