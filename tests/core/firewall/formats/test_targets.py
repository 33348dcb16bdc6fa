"""Which names and addresses a kind of firewall is given."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from ginnel.core.firewall.formats.check import CannotExpress
from ginnel.core.firewall.formats.table import FORMATS
from ginnel.core.firewall.formats.targets import rows_of, said_in_tls, to_resolve
from ginnel.core.firewall.needs import Need
from tests.core.firewall.formats.plans import BARE, CONTROL, FRA, NYC, PINNED, RECOMMENDED, many_regions, whole

HTTPS = PINNED.needs[0]


def pinned_to(*hosts: object) -> Need:
    return replace(HTTPS, hosts=hosts)


def test_firewalls_that_resolve_get_a_regions_whole_name_in_place_of_its_relays() -> None:
    assert to_resolve(HTTPS).names == ("derp1-all.example.com", "derp2-all.example.com", "mesh.example.com")
    assert to_resolve(pinned_to(*NYC)).names == ("derp1a.example.com", "derp1b.example.com")


def test_firewalls_that_read_tls_get_the_names_that_clients_say() -> None:
    assert said_in_tls(HTTPS).names == (
        "derp1a.example.com", "derp1b.example.com", "derp2a.example.com", "mesh.example.com",
    )  # fmt: skip


def test_a_host_without_a_name_is_given_by_its_addresses_to_both() -> None:
    assert to_resolve(HTTPS).addresses == said_in_tls(HTTPS).addresses == BARE.addresses


def test_a_pinned_need_without_ipv6_addresses_is_not_opened_to_all_of_ipv6() -> None:
    only4 = replace(CONTROL, addresses=CONTROL.addresses[:1])
    assert [(row.family, row.to) for row in rows_of(pinned_to(only4))] == [(4, CONTROL.addresses[:1])]


def test_a_name_without_addresses_is_refused_unless_its_region_has_them() -> None:
    dark = replace(NYC[0], addresses=())
    assert rows_of(pinned_to(whole(1, *NYC), dark, NYC[1]))
    assert rows_of(pinned_to(replace(whole(1, *NYC), addresses=()), *NYC))
    with pytest.raises(CannotExpress, match="derp1a"):
        rows_of(pinned_to(dark, NYC[1]))
    with pytest.raises(CannotExpress, match=r"mesh\.example\.com and 1 more"):
        rows_of(pinned_to(replace(CONTROL, addresses=()), dark, FRA))


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.level == "SNI/FQDN"])
def test_no_format_that_reads_tls_holds_a_name_that_nobody_says(name: str) -> None:
    assert "-all" not in FORMATS[name].render(PINNED)


@pytest.mark.parametrize("name", ["opnsense-alias", "mikrotik", "cisco-asa", "fortigate"])
def test_formats_that_resolve_hold_the_whole_names_and_no_relays(name: str) -> None:
    text = FORMATS[name].render(PINNED)
    assert "derp1-all.example.com" in text
    assert "derp1a.example.com" not in text


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.level == "L3"])
def test_formats_of_addresses_hold_every_address_and_no_name(name: str) -> None:
    text = FORMATS[name].render(PINNED)
    addresses = [str(address) for host in HTTPS.hosts for address in host.addresses]
    wanted = [a for a in addresses if (":" in a) == (name == "ip6tables")] if "tables" in name else addresses
    wanted = addresses if name == "nftables" else wanted
    assert not [address for address in wanted if not re.search(rf"(?<![\d:.]){re.escape(address)}(?![\d:.])", text)]
    assert "derp1a.example.com" not in text


@pytest.mark.parametrize("name", [name for name in FORMATS if not name.startswith("paloalto")])
def test_everything_that_goes_out_is_in_both_families(name: str) -> None:
    """A rule for IPv4 without its twin leaves half of the mesh behind."""
    text = FORMATS[name].render(RECOMMENDED)
    both = {
        "pf": ("inet proto tcp from any to any port 443", "inet6 proto tcp from any to any port 443"),
        "mikrotik": ("/ip firewall filter add chain=ginnel-out", "/ipv6 firewall filter add chain=ginnel-out"),
        "cisco-ios": ("ip access-list extended GINNEL-OUT4", "ipv6 access-list GINNEL-OUT6"),
        "fortigate": ('set dstaddr "all"', 'set dstaddr6 "all"'),
        "azure-json": ("0.0.0.0/0", "::/0"),
    }
    cloud = ("0.0.0.0/0", "::/0") if "terraform" in name or name in ("aws-json", "gcp-json") else ()
    for part in (*both.get(name, ()), *cloud):
        assert part in text


@pytest.mark.parametrize("name", FORMATS)
def test_a_map_of_two_thousand_regions_is_written_or_refused_in_one_line(name: str) -> None:
    plan = many_regions(2_000)
    try:
        text = FORMATS[name].render(plan)
    except CannotExpress as error:
        assert "\n" not in str(error)
        assert name.startswith(("aws", "azure"))
        return
    assert "8.0.7.208" in text or "2001:db8::7d0" in text or "derp2000" in text
    assert max(map(len, text.splitlines())) < 8_000 or name in ("little-snitch", "opnsense-alias")


def test_json_keeps_everything_that_the_plan_says() -> None:
    document = json.loads(FORMATS["json"].render(PINNED))
    assert document["refresh_by"] == PINNED.refresh_by
    assert [len(rule["hosts"]) for rule in document["rules"]] == [len(need.hosts) for need in PINNED.needs]
    assert [rule["anywhere"] for rule in document["rules"]] == [not need.hosts for need in PINNED.needs]
