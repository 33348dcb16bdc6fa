from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.firewall.hosts import hosts_of, own_hosts, saas_hosts
from ginnel.core.firewall.needs import Level, Need, Plan
from ginnel.core.firewall.plan import OTHER_PORTS, Facts, plan
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import WallTime
from tests.core.firewall.maps import derp_map, mesh, node, region
from tests.core.firewall.test_hosts import maps

NOON = WallTime(1_767_268_800.0)  # 2026-01-01T12:00:00Z
OWN = own_hosts("https://vpn.example.com").hosts


def facts(relays: DERPMap | None = None, **members: object) -> Facts:
    found = hosts_of(relays if relays is not None else derp_map(region(1, node(1, can_port80=True))))
    return replace(Facts(OWN + found, "the daemon", NOON), **members)  # type: ignore[arg-type]


def shape(need: Need) -> tuple[object, ...]:
    return need.id, need.direction, need.transport, need.source_port, need.port, need.optional


def ids(made: Plan) -> list[str]:
    return [need.id for need in made.needs]


def test_the_recommended_plan_is_the_faqs() -> None:
    made = plan(facts())
    assert [shape(need) for need in made.needs] == [
        ("https", "out", "tcp", None, 443, False),
        ("tunnel", "out", "udp", 41641, None, False),
        ("stun", "out", "udp", None, 3478, False),
        ("portal", "out", "tcp", None, 80, True),
        ("tunnel-in", "in", "udp", None, 41641, True),
    ]
    assert (made.profile, made.refresh_by, made.warnings) == ("recommended", "", ())
    for need in made.needs:
        assert need.hosts == ()
        assert need.families == (4, 6)
        assert need.why
        assert need.breaks
        assert need.looks_like
        assert "{" not in need.why + need.breaks + need.looks_like


def test_the_daemons_port_is_followed() -> None:
    made = plan(facts(port=50123))
    tunnel, inbound = made.needs[1], made.needs[4]
    assert (tunnel.source_port, inbound.port) == (50123, 50123)
    assert "50123" in tunnel.why


@pytest.mark.parametrize(
    ("members", "word"), [({"randomize": True}, "randomizeClientPort"), ({"port": None}, "no fixed UDP port")]
)
def test_a_port_that_is_another_at_each_start_is_in_no_rule(members: dict[str, object], word: str) -> None:
    made = plan(facts(**members))
    assert made.needs[1].source_port is None
    assert "41641" not in made.needs[1].why
    assert "tunnel-in" not in ids(made)
    assert word in made.warnings[0]


def test_pinned_destinations_come_with_the_warning_first_and_a_date() -> None:
    made = plan(facts(problems=("something is odd",)), "pinned")
    assert made.warnings[0].startswith("Pinned destinations break the mesh some day")
    assert "random pairs" in made.warnings[0]
    assert made.warnings[-1] == "something is odd"
    assert made.refresh_by == "2026-01-31"


def test_pinned_needs_name_the_hosts_that_have_the_port() -> None:
    relays = derp_map(region(1, node(1, can_port80=True), node(1, "b", stun_port=-1)))
    made = {need.id: [host.name for host in need.hosts] for need in plan(facts(relays), "pinned").needs}
    every, a, b = "derp1-all.relays.example.com", "derp1a.relays.example.com", "derp1b.relays.example.com"
    assert made == {
        "https": ["vpn.example.com", every, a, b], "tunnel": [], "stun": [every, a], "portal": [every, a],
        "tunnel-in": [],
    }  # fmt: skip


def test_other_ports_of_the_map_are_further_needs_behind_the_usual_one() -> None:
    relays = derp_map(region(1, node(1, derp_port=8443, stun_port=3479), node(1, "b")))
    made = plan(facts(relays))
    assert ids(made) == ["https", "https-8443", "tunnel", "stun", "stun-3479", "tunnel-in"]
    assert [need.port for need in made.needs] == [443, 8443, None, 3478, 3479, 41641]
    assert "8443" in made.needs[1].why


def test_a_map_without_stun_and_without_port_80_needs_neither() -> None:
    assert ids(plan(facts(derp_map(region(1, node(1, stun_port=-1)))))) == ["https", "tunnel", "tunnel-in"]


def test_stun_on_another_port_alone_leaves_the_usual_one_shut() -> None:
    assert ids(plan(facts(derp_map(region(1, node(1, stun_port=3479)))))) == [
        "https",
        "tunnel",
        "stun-3479",
        "tunnel-in",
    ]


def test_as_long_as_no_relay_is_known_all_rules_are_told() -> None:
    assert ids(plan(facts(DERPMap()))) == ["https", "tunnel", "stun", "portal", "tunnel-in"]


def test_a_server_by_plain_http_needs_its_port_and_is_no_portal() -> None:
    plain = replace(facts(), hosts=own_hosts("http://vpn.example.com").hosts + hosts_of(mesh(1)))
    made = {need.id: need for need in plan(plain, "pinned").needs}
    assert [host.name for host in made["https-80"].hosts] == ["vpn.example.com"]
    assert not made["https-80"].optional
    assert "portal" not in made


def test_a_map_of_a_thousand_ports_does_not_open_them_all() -> None:
    relays = derp_map(*(region(n, node(n, derp_port=10_000 + n)) for n in range(1, 1001)))
    made = plan(facts(relays))
    assert len([need for need in made.needs if need.id.startswith("https")]) == 1 + OTHER_PORTS
    assert "Is this map yours?" in made.warnings[0]


@given(maps, st.booleans(), st.none() | st.integers(1, 65535))
def test_pinned_needs_to_hosts_are_never_without_any_and_ids_are_unique(
    relays: DERPMap, randomize: bool, port: int | None
) -> None:
    made = plan(facts(relays, randomize=randomize, port=port), "pinned")
    assert len(set(ids(made))) == len(made.needs)
    for need in made.needs:
        assert bool(need.hosts) == (not need.id.startswith("tunnel"))
        assert all(host.level in Level for host in need.hosts)


def test_the_vendors_profile_pins_its_four_names_and_the_maps_relays() -> None:
    relays = hosts_of(derp_map(region(1, node(1, zone="tailscale.com"))))
    https = plan(Facts(saas_hosts() + relays, "x", NOON), "pinned").needs[0]
    assert [host.name for host in https.hosts][4:] == ["derp1-all.tailscale.com", "derp1a.tailscale.com"]
