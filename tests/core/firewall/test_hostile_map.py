"""A map and a server that are hostile in every text they hold: what comes out of formats, lists and the sync."""

import json
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ginnel.core.firewall.allowlist import allowlist, allowlist_csv, allowlist_json, fqdn_lines
from ginnel.core.firewall.checked import Refused, checked_name
from ginnel.core.firewall.formats.check import CannotExpress
from ginnel.core.firewall.formats.table import FORMATS
from ginnel.core.firewall.hosts import Trust, own_hosts, relays_of
from ginnel.core.firewall.needs import Host
from ginnel.core.firewall.plan import Facts, plan
from ginnel.core.firewall.plan_json import plan_json
from ginnel.core.firewall.spec import spec_json
from ginnel.core.firewall.sync_list import listing_of_hosts
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import WallTime
from tests.core.firewall.formats.test_hostile import hostile

NAMES = st.one_of(
    hostile, st.sampled_from(("derp1a.example.com", "-j.example.com", "--x.example.com", "a..b", "a.b" * 90))
)
ADDRESSES = st.one_of(
    st.sampled_from(("", "none", "203.0.113.9", "2001:db8::9", "10.0.0.1", "::1", "fe80::1%eth0", "0.0.0.0")), hostile
)
NODES = st.builds(
    DERPNode, name=hostile, region_id=st.just(1), host_name=NAMES, cert_name=hostile, ipv4=ADDRESSES, ipv6=ADDRESSES,
    derp_port=st.integers(-2, 70_000), stun_port=st.integers(-2, 70_000), can_port80=st.booleans(),
)  # fmt: skip
REGIONS = st.builds(
    DERPRegion, region_id=st.just(1), region_code=hostile, region_name=hostile, nodes=st.lists(NODES, max_size=3)
)
GOOD = DERPRegion(
    2, "ok", "Ok", nodes=[DERPNode("2a", 2, "derp2a.example.com", ipv4="203.0.113.2", ipv6="2001:db8::2")]
)


def hosts(region: DERPRegion, zone: str, logs: list[str]) -> tuple[tuple[Host, ...], tuple[str, ...]]:
    found = relays_of(DERPMap(regions={1: region, 2: GOOD}), zone=zone, trust=Trust())
    own = own_hosts("https://vpn.example.com", logs=tuple(logs))
    return own.hosts + found.hosts, own.problems + found.problems


def is_plain(text: str) -> bool:
    """ASCII without a character that a terminal obeys; no tab either, but in tables."""
    return text.isascii() and all(char.isprintable() or char in "\n\r\t" for char in text)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(region=REGIONS, zone=hostile, logs=st.lists(NAMES, max_size=2))
def test_what_passes_is_a_name_or_an_address_and_nothing_else(region: DERPRegion, zone: str, logs: list[str]) -> None:
    found, problems = hosts(region, zone, logs)
    assert any(host.name == "derp2a.example.com" for host in found), "one bad region costs only itself"
    for host in found:
        assert not host.name or checked_name(host.name) == host.name
        assert not host.name.startswith("-")
        for address in host.addresses:
            Trust().address(address)
    assert all("\n" not in problem and len(problem) < 400 for problem in problems)
    for wanted in listing_of_hosts(found).wanted:
        assert not wanted.name or checked_name(wanted.name) == wanted.name


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(region=REGIONS, zone=hostile, source=hostile, profile=st.sampled_from(("recommended", "pinned")))
def test_every_format_is_plain_text_of_bounded_size(region: DERPRegion, zone: str, source: str, profile: str) -> None:
    found, problems = hosts(region, zone, [])
    facts = Facts(found, source, WallTime(1e9), problems=problems)
    made = plan(facts, profile)  # type: ignore[arg-type]
    for name, form in FORMATS.items():
        try:
            text = form.render(made)
        except CannotExpress as error:
            assert "\n" not in str(error)
            assert is_plain(str(error)), name
        else:
            assert is_plain(text), name
            assert len(text) < 200_000, name
            assert max(map(len, text.splitlines())) < 20_000, name


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(region=REGIONS, zone=hostile, source=hostile)
def test_what_programs_read_is_json_whatever_the_map_says(region: DERPRegion, zone: str, source: str) -> None:
    found, problems = hosts(region, zone, [])
    facts = Facts(found, source, WallTime(1e9), problems=problems)
    lines = allowlist(found)
    for made in (plan_json(plan(facts, "pinned")), spec_json(facts, "ginnel"), allowlist_json(lines, facts)):
        assert json.loads(json.dumps(made)) == made
    for name in fqdn_lines(lines):
        assert checked_name(name) == name
    assert not [line for line in allowlist_csv(lines).splitlines() if line.startswith(("=", "+", "-", "@"))]


def test_a_name_that_looks_like_an_option_is_none() -> None:
    for name in ("-j.example.com", "--flush.example.com", "a.-b.com"):
        with pytest.raises(Refused):
            checked_name(name)
    assert ip_address("203.0.113.2") in {ip for host in hosts(GOOD, "", [])[0] for ip in host.addresses}
