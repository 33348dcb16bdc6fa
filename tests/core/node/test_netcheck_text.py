from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ginnel.core.node.netcheck_report import Report
from ginnel.core.node.netcheck_text import go_duration, report_json, report_text
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
        "\t* Time: 2026-11-22 07:01:14.12345Z\n"
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
    assert "\t* Time: 2026-11-22 12:31:14.12345+05:30\n" in text
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
