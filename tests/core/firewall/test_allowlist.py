import csv
import io
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.firewall.allowlist import (
    CSV_COLUMNS,
    Answer,
    Line,
    allowlist,
    allowlist_csv,
    allowlist_json,
    allowlist_text,
    fqdn_lines,
    nameless,
    names_to_resolve,
    resolved,
)
from ginnel.core.firewall.hosts import Trust, hosts_of, own_hosts, saas_hosts
from ginnel.core.firewall.needs import Level
from ginnel.core.firewall.plan import Facts
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import WallTime
from tests.core.firewall.maps import derp_map, mesh, node, region
from tests.core.firewall.test_hosts import maps

OWN = own_hosts("https://vpn.example.com", logs=("log.example.com",)).hosts
SMALL = OWN + hosts_of(
    derp_map(region(1, node(1, ipv4="192.0.2.1"), node(1, "b")), region(2, node(2, host_name="x.example")))
)
FACTS = Facts(SMALL, "the daemon", WallTime(1_767_268_800.0), problems=("odd",))
ALL, A, B = "derp1-all.relays.example.com", "derp1a.relays.example.com", "derp1b.relays.example.com"


def names(lines: tuple[Line, ...]) -> list[str]:
    return [line.host.name for line in lines]


def test_both_kinds_of_names_are_listed_and_labelled() -> None:
    levels = {line.host.name: " ".join(line.levels) for line in allowlist(SMALL)}
    assert levels == {
        "vpn.example.com": "L3 SNI", "log.example.com": "L3 SNI", ALL: "L3", A: "SNI", B: "SNI", "x.example": "L3 SNI",
    }  # fmt: skip


def test_each_firewall_has_its_own_list() -> None:
    assert names(allowlist(SMALL, Level.L3)) == ["vpn.example.com", "log.example.com", ALL, "x.example"]
    assert names(allowlist(SMALL, Level.SNI)) == ["vpn.example.com", "log.example.com", A, B, "x.example"]


@pytest.mark.parametrize("n", [1, 25, 40])
def test_the_vendors_list_looks_as_its_faq_has_it(n: int) -> None:
    every = saas_hosts() + hosts_of(derp_map(*(region(i, node(i, zone="tailscale.com")) for i in range(1, n + 1))))
    assert fqdn_lines(allowlist(every, Level.L3)) == [
        "login.tailscale.com", "controlplane.tailscale.com", "log.tailscale.com", "log.tailscale.io",
        *(f"derp{i}-all.tailscale.com" for i in range(1, n + 1)),
    ]  # fmt: skip


def test_relays_that_share_a_name_are_one_line_with_the_ports_and_addresses_of_both() -> None:
    one, other = node(1, ipv4="192.0.2.1", host_name="r.example.com"), node(1, "b", host_name="r.example.com")
    other = type(other)("1b", 1, "r.example.com", ipv4="192.0.2.2", derp_port=8443)
    (line,) = allowlist(hosts_of(derp_map(region(1, one, other))))
    assert [str(service) for service in line.host.services] == ["443/tcp", "3478/udp", "8443/tcp"]
    assert [str(ip) for ip in line.host.addresses] == ["192.0.2.1", "192.0.2.2"]


def test_a_server_with_its_relay_beside_it_is_listed_as_both() -> None:
    relay = derp_map(region(900, node(900, host_name="vpn.example.com")))
    lines = allowlist(own_hosts("https://vpn.example.com").hosts + hosts_of(relay))
    assert [(line.host.role, line.host.stability, line.host.region) for line in lines] == [
        ("control", "slow", 0), ("relay", "fast", 900),
    ]  # fmt: skip
    assert fqdn_lines(lines) == ["vpn.example.com"]


def test_a_name_that_ten_thousand_relays_share_is_merged_in_a_moment() -> None:
    same = derp_map(
        *(region(n, node(n, host_name="r.example.com", ipv4=f"8.8.{n >> 8}.{n & 255}")) for n in range(1, 10_001))
    )
    (line,) = allowlist(hosts_of(same))
    assert len(line.host.addresses) == 10_000


def test_answers_of_dns_stand_beside_the_maps_addresses() -> None:
    answers = dict.fromkeys(names(allowlist(SMALL)), Answer((ip_address("192.0.2.77"), ip_address("2001:db8::7"))))
    lines = {line.host.name: line for line in resolved(allowlist(SMALL), answers, Trust())}
    assert [str(ip) for ip in lines[A].host.addresses] == ["192.0.2.1", "192.0.2.77", "2001:db8::7"]
    assert lines[A].error == ""
    assert lines[A].levels == (Level.SNI,)


def test_a_lookup_that_failed_is_an_error_on_its_line_and_takes_nothing_away() -> None:
    answers = {name: Answer() for name in names(allowlist(SMALL))} | {A: Answer(error="no DNS")}
    lines = {line.host.name: line for line in resolved(allowlist(SMALL), answers, Trust())}
    assert (lines[A].error, [str(ip) for ip in lines[A].host.addresses]) == ("no DNS", ["192.0.2.1"])


def test_private_addresses_out_of_dns_are_left_out_and_said() -> None:
    lie = Answer((ip_address("127.0.0.1"), ip_address("192.0.2.2")))
    line = resolved(allowlist(SMALL, Level.L3)[2:3], {ALL: lie}, Trust())[0]
    assert [str(ip) for ip in line.host.addresses] == ["192.0.2.1", "192.0.2.2"]
    assert line.error == "DNS answers what is left out: 127.0.0.1 is not a public address"


def test_the_servers_own_address_may_be_private() -> None:
    line = resolved(allowlist(OWN)[:1], {"vpn.example.com": Answer((ip_address("192.168.1.5"),))}, Trust())[0]
    assert ([str(ip) for ip in line.host.addresses], line.error) == (["192.168.1.5"], "")


def test_hosts_without_a_name_are_not_asked_for_and_not_forgotten() -> None:
    lines = allowlist(hosts_of(derp_map(region(1, node(1, host_name="192.0.2.9")))))
    assert (names_to_resolve(lines), fqdn_lines(lines), nameless(lines)) == ((), [], ["192.0.2.9"])
    assert resolved(lines, {}, Trust()) == lines


def test_json_holds_the_warning_and_every_entry() -> None:
    made = allowlist_json(allowlist(SMALL), FACTS)
    assert made["warning"].startswith("Pinned destinations")
    assert (made["refresh_by"], made["warnings"], made["schema"]) == ("2026-01-31", ["odd"], 1)
    entry = {entry["name"]: entry for entry in made["entries"]}[A]
    assert (entry["ports"], entry["ipv4"], entry["stability"]) == (["443/tcp", "3478/udp"], ["192.0.2.1"], "fast")
    assert (entry["level"], entry["role"], entry["region"], entry["node"], entry["error"]) == (
        "SNI",
        "relay",
        1,
        "1a",
        None,
    )
    assert entry["needed_for"]
    assert entry["breaks"]


def test_csv_has_the_columns_and_a_row_for_each_line() -> None:
    rows = list(csv.DictReader(io.StringIO(allowlist_csv(resolved_with_error()))))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["name"] for row in rows] == names(allowlist(SMALL))
    assert {row["stability"] for row in rows} == {"slow", "fast"}
    assert all(row["needed_for"] and row["breaks"] and row["ports"] for row in rows)
    assert rows[-1]["error"] == "no DNS"


def resolved_with_error() -> tuple[Line, ...]:
    lines = allowlist(SMALL)
    return (*lines[:-1], replace(lines[-1], error="no DNS"))


def test_text_is_by_role_with_errors_and_addresses_beneath() -> None:
    assert allowlist_text(resolved_with_error(), addresses=True) == GOLDEN.splitlines()[1:]
    assert "    192.0.2.1" not in allowlist_text(allowlist(SMALL), addresses=False)


@given(maps, st.sampled_from([None, *Level]))
def test_no_format_is_broken_by_a_map(relays: DERPMap, level: Level | None) -> None:
    facts = replace(FACTS, hosts=OWN + hosts_of(relays))
    lines = allowlist(facts.hosts, level)
    assert len(allowlist_csv(lines).splitlines()) == len(lines) + 1
    assert len(allowlist_json(lines, facts)["entries"]) == len(lines)
    assert all(line.isprintable() for line in allowlist_text(lines, addresses=True) + fqdn_lines(lines))


def test_no_relay_is_lost_on_the_way_to_a_list() -> None:
    every = hosts_of(mesh(40))
    for level in Level:
        addresses = {ip for line in allowlist(every, level) for ip in line.host.addresses}
        assert addresses == {ip for host in every for ip in host.addresses}


GOLDEN = """
Coordination server
  needed for: log-in, key exchange, changes of the policy and of who is on the mesh
  if blocked: no machine can log in; running tunnels go on, without news of other machines or of the policy
NAME             LEVEL   PORTS    CHANGES  REGION
vpn.example.com  L3 SNI  443/tcp  slow

Logs
  needed for: clients' logs, for support; clients run without
  if blocked: logs are missing; clients started with --no-logs-no-support do not upload any
NAME             LEVEL   PORTS    CHANGES  REGION
log.example.com  L3 SNI  443/tcp  slow

Relays: all machines need all of them
  needed for: relayed traffic, and finding direct paths, with machines whose home is the relay's region
  if blocked: machines whose home is the region cannot be reached, others can: apparently random pairs lose contact
NAME                          LEVEL   PORTS             CHANGES  REGION
derp1-all.relays.example.com  L3      443/tcp 3478/udp  fast     1 r1
    192.0.2.1
derp1a.relays.example.com     SNI     443/tcp 3478/udp  fast     1 r1
    192.0.2.1
derp1b.relays.example.com     SNI     443/tcp 3478/udp  fast     1 r1
x.example                     L3 SNI  443/tcp 3478/udp  fast     2 r2
    error: no DNS
"""
