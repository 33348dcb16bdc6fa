"""The plans against what they promise, for any map."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.node.netcheck_plan import (
    FASTEST_REGIONS,
    FULL_TRIES_AT,
    HOME_TRIES,
    NODES_PER_REGION,
    Probe,
    full_plan,
    incremental_plan,
    may_answer,
    measured_regions,
)
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import RegionId

V4, V6 = st.sampled_from(["", "203.0.113.1", "none"]), st.sampled_from(["", "2001:db8::1", "none"])


@st.composite
def maps(draw: st.DrawFn) -> DERPMap:
    def node(region: int, place: int) -> DERPNode:
        return DERPNode(
            f"{region}{place}",
            region,
            "relay.example",
            ipv4=draw(V4),
            ipv6=draw(V6),
            stun_port=draw(st.sampled_from([0, 0, 0, -1, 3479])),
            stun_only=draw(st.booleans()),
        )

    regions = {
        number: DERPRegion(
            number,
            f"r{number}",
            "R",
            avoid=draw(st.booleans()),
            no_measure_no_home=draw(st.booleans()),
            nodes=[node(number, place) for place in range(draw(st.integers(0, 3)))],
        )
        for number in draw(st.sets(st.integers(1, 9), max_size=7))
    }
    return DERPMap(regions=dict(regions))


VERSIONS = st.sampled_from([(4,), (6,), (4, 6), ()])


def groups(plan: list[Probe]) -> dict[int, list[Probe]]:
    found: dict[int, list[Probe]] = defaultdict(list)
    for probe in plan:
        found[probe.group].append(probe)
    return found


def sound(plan: list[Probe], derp_map: DERPMap, versions: tuple[int, ...]) -> None:
    assert [probe.delay for probe in plan] == sorted(probe.delay for probe in plan)
    for probes in groups(plan).values():
        assert len({(probe.region, probe.version) for probe in probes}) == 1
        assert min(probe.delay for probe in probes) == 0
    for probe in plan:
        region = (derp_map.regions or {})[probe.region]
        assert region is not None
        assert not region.no_measure_no_home
        assert probe.version in versions
        assert probe.node.stun_port >= 0
        assert may_answer(probe.node, probe.version)


@given(maps(), VERSIONS)
def test_a_full_plan_asks_two_nodes_of_every_region_that_may_be_asked(
    derp_map: DERPMap, versions: tuple[int, ...]
) -> None:
    plan = full_plan(derp_map, versions)
    sound(plan, derp_map, versions)
    for probes in groups(plan).values():
        assert [probe.delay for probe in probes] == list(FULL_TRIES_AT)
        assert len({probe.node.name for probe in probes}) == 1
    for number, region in (derp_map.regions or {}).items():
        assert region is not None
        for version in versions:
            able = [n for n in region.nodes or () if n.stun_port >= 0 and may_answer(n, version)]
            asked = {p.node.name for p in plan if p.region == number and p.version == version}
            expected = set() if region.no_measure_no_home else {n.name for n in able[:NODES_PER_REGION]}
            assert asked == expected


@given(maps(), VERSIONS, st.dictionaries(st.integers(1, 9), st.floats(0.001, 0.5)), st.integers(0, 9), st.booleans())
def test_a_short_plan_asks_the_three_fastest_and_home_and_home_hardest(
    derp_map: DERPMap, versions: tuple[int, ...], latency: dict[int, float], home: int, v6_worked: bool
) -> None:
    known = {RegionId(region): seconds for region, seconds in latency.items()}
    plan = incremental_plan(derp_map, versions, known, RegionId(home), v6_worked=v6_worked)
    sound(plan, derp_map, versions)
    regions = derp_map.regions or {}
    may = [n for n, r in regions.items() if r is not None and not r.no_measure_no_home and r.nodes]
    may = [n for n in may if not regions[n].avoid or n == home]  # type: ignore[union-attr]
    fastest = sorted((latency[n], n) for n in may if n in latency)[:FASTEST_REGIONS]
    assert {probe.region for probe in plan} <= {n for _, n in fastest} | {home}
    for probes in groups(plan).values():
        assert len(probes) <= HOME_TRIES
        if probes[0].version == 6 and not v6_worked:
            assert len(probes) == 1
        elif probes[0].region == home:
            assert len(probes) == HOME_TRIES


@pytest.mark.parametrize(
    ("members", "version", "may"),
    [
        ({}, 4, True), ({}, 6, True), ({"ipv4": "none"}, 4, False), ({"ipv6": "none"}, 6, False),
        ({"ipv6": "203.0.113.1"}, 6, False), ({"stun_test_ip": "127.0.0.1", "ipv4": "none"}, 4, True),
        ({"stun_test_ip": "127.0.0.1"}, 6, False),
    ],
)  # fmt: skip
def test_a_node_that_the_map_calls_off_is_not_asked(members: dict[str, str], version: int, may: bool) -> None:
    assert may_answer(DERPNode("1a", 1, "relay.example", **members), version) is may  # type: ignore[arg-type]


def test_a_region_of_stun_servers_alone_is_asked_but_cannot_be_home() -> None:
    node = DERPNode("1a", 1, "relay.example", ipv4="203.0.113.1", stun_only=True)
    derp_map = DERPMap(regions={1: DERPRegion(1, "a", "A", nodes=[node])})
    assert len(full_plan(derp_map, (4,))) == len(FULL_TRIES_AT)
    assert measured_regions(derp_map) == []
