from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.node.netmap import BadMap, MapChange, NetMap, apply_frame, expire_keys, first_frame, next_expiry
from ginnel.wire.tailcfg import (
    DERPHomeParams,
    DERPMap,
    DERPRegion,
    DNSConfig,
    FilterRule,
    MapResponse,
    Node,
    PeerChange,
    UserProfile,
    stamp,
)
from ginnel.words import DiscoKey, NodeKey, WallTime

WALL = WallTime(1_800_000_000.0)
RULE = FilterRule(src_ips=["*"])
OTHER = FilterRule(src_ips=["100.64.0.9"])


def node(number: int, **members: Any) -> Node:
    given_key = members.pop("key", NodeKey(bytes([number % 256, 1]) + bytes(30)))
    return Node(
        id=number,
        stable_id=f"n{number}",
        name=f"n{number}.",
        user=1,
        key=given_key,
        addresses=[f"100.64.0.{number % 256}/32"],
        **members,
    )


SELF = node(200)


def started(*peers: Node, **members: Any) -> NetMap:
    return first_frame(NetMap(), MapResponse(node=SELF, peers=list(peers), **members), WALL)[0]


def then(netmap: NetMap, **members: Any) -> tuple[NetMap, MapChange]:
    return apply_frame(netmap, MapResponse(**members), WALL)


def test_a_first_frame_without_the_node_itself_changes_nothing() -> None:
    with pytest.raises(BadMap):
        first_frame(started(node(1)), MapResponse(peers=[node(2)]), WALL)


def test_a_new_stream_forgets_what_it_does_not_name_but_keeps_the_derp_map() -> None:
    derp_map = DERPMap(regions={1: DERPRegion(1, "a", "A")})
    before = started(node(1), node(2), derp_map=derp_map, packet_filters={"base": [RULE]})
    after, change = first_frame(before, MapResponse(node=SELF, peers=[node(2)]), WALL)
    assert list(after.peers) == [2]
    assert change.removed == (node(1),)
    assert after.rules() == ()
    assert change.filters
    assert after.derp_map == derp_map
    assert not change.derp_map


@pytest.mark.parametrize("peers", [None, []])
def test_an_empty_peer_list_is_no_list(peers: list[Node] | None) -> None:
    before = started(node(1))
    after, change = then(before, peers=peers)
    assert after.peers is before.peers
    assert not change


def test_a_keep_alive_changes_nothing_whatever_it_holds() -> None:
    before = started(node(1))
    after, change = then(before, keep_alive=True, peers_removed=[1], health=["x"])
    assert after is before
    assert not change


def test_parts_of_one_frame_are_applied_in_their_order() -> None:
    before = started(node(1), node(2), node(3))
    after, change = then(
        before,
        peers_removed=[1, 2],
        peers_changed=[node(2, home_derp=5), node(4)],
        online_change={4: True, 99: True},
        peer_seen_change={3: True},
        peers_changed_patch=[PeerChange(node_id=4, derp_region=7), PeerChange(node_id=98, derp_region=7)],
    )
    assert sorted(after.peers) == [2, 3, 4]
    assert after.peers[2].home_derp == 5
    assert after.peers[4].online
    assert after.peers[4].home_derp == 7
    assert after.peers[3].last_seen == stamp(WALL)
    assert [peer.id for peer in change.added] == [4]
    assert [peer.id for peer in change.removed] == [1]
    assert [new.id for _, new in change.changed] == [2, 3]


def test_a_patch_leaves_alone_what_it_does_not_name() -> None:
    whole = node(1, home_derp=3, cap=90, endpoints=["192.0.2.1:1"], disco_key=DiscoKey(bytes([7]) * 32))
    before = started(whole)
    after, _ = then(before, peers_changed_patch=[PeerChange(node_id=1, online=True, disco_key=DiscoKey.zero())])
    assert after.peers[1] == msgspec.structs.replace(whole, online=True)


def test_an_empty_endpoint_list_in_a_patch_clears() -> None:
    before = started(node(1, endpoints=["192.0.2.1:1"]))
    after, change = then(before, peers_changed_patch=[PeerChange(node_id=1, endpoints=[])])
    assert after.peers[1].endpoints == []
    assert change.changed


def test_a_peer_that_is_this_node_or_has_no_key_is_left_out() -> None:
    after = started(node(1), SELF, node(2, key=NodeKey.zero()), node(3, key=SELF.key), node(0), node(2**53))
    assert list(after.peers) == [1]


def test_filters_by_name_and_the_older_single_one() -> None:
    before = started(packet_filters={"base": [RULE], "more": [OTHER]})
    assert before.rules() == (RULE, OTHER)
    assert then(before)[0].rules() == (RULE, OTHER)
    assert then(before, packet_filter=[])[0].rules() == (OTHER,)
    assert then(before, packet_filters={"base": None})[0].rules() == (OTHER,)
    assert then(before, packet_filters={"*": None, "new": [RULE]})[0].rules() == (RULE,)
    assert then(before, packet_filters={"base": []})[0].rules() == (OTHER,)
    assert then(before, packet_filter=[OTHER], packet_filters={"*": None})[0].rules() == ()
    assert not then(before, packet_filters={"base": [RULE]})[1].filters


def test_no_filter_ever_sent_lets_nothing_in() -> None:
    assert started(node(1)).rules() == ()


def test_derp_map_deltas() -> None:
    one, two = DERPRegion(1, "a", "A"), DERPRegion(2, "b", "B")
    before = started(derp_map=DERPMap(regions={1: one, 2: two}, home_params=DERPHomeParams({1: 0.5})))
    assert then(before, derp_map=DERPMap())[0].derp_map == before.derp_map
    scored, change = then(before, derp_map=DERPMap(home_params=DERPHomeParams({2: 0.8})))
    assert scored.derp_map.regions == {1: one, 2: two}
    assert scored.derp_map.home_params == DERPHomeParams({2: 0.8})
    assert change.derp_map
    reset, _ = then(scored, derp_map=DERPMap(home_params=DERPHomeParams({})))
    assert reset.derp_map.home_params == DERPHomeParams(None)
    replaced, _ = then(before, derp_map=DERPMap(regions={1: one, 2: None, 3: two, 70000: one}))
    assert replaced.derp_map.regions == {1: one}
    assert replaced.derp_map.home_params == before.derp_map.home_params


def test_other_members_replace_or_stay() -> None:
    user = UserProfile(1, "alice@")
    before = started(dns_config=DNSConfig(domains=["tail"]), domain="d", user_profiles=[user], health=["bad"])
    after, change = then(before, online_change={5: True})
    assert (after.dns, after.domain, after.users, after.health) == (before.dns, "d", {1: user}, ("bad",))
    assert not change
    after, change = then(before, health=[], user_profiles=[UserProfile(2, "bob@")], dns_config=DNSConfig())
    assert after.health == ()
    assert sorted(after.users) == [1, 2]
    assert (change.health, change.users, change.dns) == (True, True, True)


def test_a_peer_whose_key_expires_is_marked_then() -> None:
    soon = WallTime(WALL + 10)
    before = started(node(1, key_expiry=stamp(soon)), node(2))
    assert not before.peers[1].expired
    assert next_expiry(before) == soon
    after, change = expire_keys(before, soon)
    assert after.peers[1].expired
    assert [new.id for _, new in change.changed] == [1]
    assert next_expiry(after) is None
    renewed, _ = apply_frame(
        after, MapResponse(peers_changed_patch=[PeerChange(node_id=1, key_expiry=stamp(WallTime(soon + 99)))]), soon
    )
    assert not renewed.peers[1].expired


numbers = st.integers(1, 6)
nodes = st.builds(lambda number, home: node(number, home_derp=home), numbers, st.integers(0, 3))
patches = st.builds(
    PeerChange,
    node_id=numbers,
    derp_region=st.integers(0, 3),
    endpoints=st.none() | st.lists(st.sampled_from(["192.0.2.1:1", "192.0.2.2:2"]), max_size=2),
    online=st.none() | st.booleans(),
)
frames = st.builds(
    MapResponse,
    peers=st.none() | st.lists(nodes, max_size=4, unique_by=lambda n: n.id),
    peers_changed=st.none() | st.lists(nodes, max_size=3),
    peers_removed=st.none() | st.lists(numbers, max_size=3),
    peers_changed_patch=st.none() | st.lists(patches, max_size=3),
    online_change=st.none() | st.dictionaries(numbers, st.booleans(), max_size=3),
)


def plainly(peers: dict[int, Node], frame: MapResponse) -> dict[int, Node]:
    """The rules once more, as slowly and simply as can be."""
    if frame.peers:
        peers = {peer.id: peer for peer in frame.peers}
    else:
        peers = {number: peer for number, peer in peers.items() if number not in (frame.peers_removed or [])}
        for peer in frame.peers_changed or []:
            peers[peer.id] = peer
    for number, online in (frame.online_change or {}).items():
        if number in peers:
            peers[number] = msgspec.structs.replace(peers[number], online=online)
    for patch in frame.peers_changed_patch or []:
        if patch.node_id in peers:
            peer = peers[patch.node_id]
            if patch.derp_region:
                peer = msgspec.structs.replace(peer, home_derp=patch.derp_region)
            if patch.endpoints is not None:
                peer = msgspec.structs.replace(peer, endpoints=patch.endpoints)
            if patch.online is not None:
                peer = msgspec.structs.replace(peer, online=patch.online)
            peers[patch.node_id] = peer
    return peers


@given(st.lists(frames, max_size=8))
def test_any_frames_merge_as_a_plain_model_does_and_say_what_changed(sequence: list[MapResponse]) -> None:
    netmap, model = started(), dict[int, Node]()
    for frame in sequence:
        before = dict(model)
        model = plainly(model, frame)
        netmap, change = apply_frame(netmap, frame, WALL)
        assert netmap.peers == model
        assert {n.id for n in change.added} == model.keys() - before.keys()
        assert {n.id for n in change.removed} == before.keys() - model.keys()
        assert {new.id for _, new in change.changed} == {
            number for number in model.keys() & before.keys() if model[number] != before[number]
        }
