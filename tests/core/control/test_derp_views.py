"""The DERP map as one client or another is given it."""

import json

import pytest

from ginnel.core.control.derp_views import DerpViews, Edits, View
from ginnel.wire.tailcfg import DERPHomeParams, DERPMap, DERPNode, DERPRegion, decode
from ginnel.words import NodeId


def region(number: int, code: str, *nodes: DERPNode) -> DERPRegion:
    return DERPRegion(number, code, code.title(), nodes=list(nodes))


def node(name: str, **members: object) -> DERPNode:
    number = int(name[:-1])
    return DERPNode(name, number, f"{name}.example.com", ipv4="192.0.2.1", can_port80=True, **members)  # type: ignore[arg-type]


FULL = DERPMap(
    regions={
        901: region(901, "fra", node("901a"), node("901b"), node("901c")),
        902: region(902, "nyc", node("902a")),
    }
)
ALICE = NodeId(1)


def given(views: DerpViews, number: int = 1, tags: tuple[str, ...] = (), user: str = "") -> DERPMap:
    return decode(DERPMap, views.for_node(NodeId(number), tags, user))


def order(derp_map: DERPMap, number: int = 901) -> list[str]:
    found = (derp_map.regions or {})[number]
    assert found is not None
    return [node.name for node in found.nodes or ()]


def test_a_view_shows_the_nodes_of_its_tag_its_regions_alone() -> None:
    views = DerpViews(FULL, Edits(), [View(tags=frozenset({"tag:eu"}), regions=frozenset({"fra"}))])
    assert list(given(views, tags=("tag:eu", "tag:x")).regions or {}) == [901]
    assert list(given(views, tags=("tag:x",)).regions or {}) == [901, 902]


def test_a_view_omits_regions_for_a_user_and_the_first_that_names_the_node_counts() -> None:
    first = View(users=frozenset({"alice"}), omit=frozenset({901}))
    views = DerpViews(FULL, Edits(), [first, View(users=frozenset({"alice"}), omit=frozenset({902}))])
    assert list(given(views, user="alice").regions or {}) == [902]


def test_a_view_that_leaves_nothing_says_nothing() -> None:
    views = DerpViews(FULL, Edits(), [View(users=frozenset({"alice"}), regions=frozenset({"lon"}))])
    assert views.for_node(ALICE, (), "alice") == b""


@pytest.mark.parametrize(
    "bad",
    [
        None,
        region(903, "empty"),
        region(903, "stun", node("903a", stun_only=True)),
    ],
)
def test_no_client_is_given_a_region_that_cannot_carry(bad: DERPRegion | None) -> None:
    views = DerpViews(DERPMap(regions={**(FULL.regions or {}), 903: bad}), Edits())
    assert list(given(views).regions or {}) == [901, 902]
    assert list(views.default.regions or {}) == [901, 902]


def test_names_only_leaves_the_addresses_to_dns_but_not_of_a_host_that_is_one() -> None:
    literal = DERPNode("902a", 902, "192.0.2.9", ipv4="192.0.2.9", ipv6="none", can_port80=True)
    full = DERPMap(regions={901: region(901, "fra", node("901a")), 902: region(902, "nyc", literal)})
    seen = DerpViews(full, Edits(names_only=True)).default
    fra, nyc = (seen.regions or {})[901], (seen.regions or {})[902]
    assert fra is not None and fra.nodes == [DERPNode("901a", 901, "901a.example.com")]
    assert nyc is not None and nyc.nodes == [literal]


def test_edits_remove_score_avoid_and_forbid_as_home() -> None:
    edits = Edits(frozenset({902}), frozenset({"fra"}), frozenset({901}), {"fra": 0.5, "902": 2.0})
    seen = DerpViews(FULL, edits).default
    assert list(seen.regions or {}) == [901]
    fra = (seen.regions or {})[901]
    assert fra is not None
    assert (fra.avoid, fra.no_measure_no_home) == (True, True)
    assert seen.home_params == DERPHomeParams({901: 0.5})


def test_scores_that_are_gone_are_taken_back() -> None:
    assert json.loads(DerpViews(FULL, Edits()).for_node(ALICE, (), ""))["HomeParams"] == {"RegionScore": {}}


def test_nodes_of_a_meshed_region_share_the_clients_and_each_client_keeps_its_order() -> None:
    views, again = DerpViews(FULL, Edits(), spread={901: 3}), DerpViews(FULL, Edits(), spread={901: 3})
    firsts = [order(given(views, number))[0] for number in range(12)]
    assert {name: firsts.count(name) for name in firsts} == {"901a": 4, "901b": 4, "901c": 4}
    assert all(order(given(views, number)) == order(given(again, number)) for number in range(12))


def test_a_node_that_drains_stays_last_whoever_asks() -> None:
    views = DerpViews(FULL, Edits(), spread={901: 2})
    assert {order(given(views, number))[2] for number in range(12)} == {"901c"}


def test_without_a_mesh_all_clients_begin_with_the_same_node() -> None:
    assert {order(given(DerpViews(FULL, Edits()), number))[0] for number in range(12)} == {"901a"}


def test_who_is_to_have_another_home_is_told_so_unless_none_would_be_left() -> None:
    def no_homes(away: frozenset[int]) -> list[int]:
        shown = given(DerpViews(FULL, Edits(), away={ALICE: away}), ALICE).regions or {}
        return [number for number, region in shown.items() if region is not None and region.no_measure_no_home]

    assert no_homes(frozenset({901})) == [901]
    assert no_homes(frozenset({901, 902})) == []
    others = given(DerpViews(FULL, Edits(), away={ALICE: frozenset({901})}), 2)
    assert others == given(DerpViews(FULL, Edits()), 2)
