from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire.mapframe import decode_map_response
from ginnel.wire.read import Malformed

KEY = "nodekey:" + 64 * "1"


def peer(number: int, **members: Any) -> dict[str, Any]:
    node = {"ID": number, "StableID": f"n{number}", "Name": "x.", "User": 1, "Key": KEY, "Addresses": ["100.64.0.1/32"]}
    return node | members


def test_a_sound_frame_has_no_problems() -> None:
    frame, problems = decode_map_response(json.dumps({"Peers": [peer(1)], "Domain": "d"}).encode())
    assert [node.id for node in frame.peers or ()] == [1]
    assert problems == ()


def test_a_poisoned_item_costs_only_itself() -> None:
    rule = {"SrcIPs": ["*"], "DstPorts": [{"IP": "*", "Ports": {"First": 0, "Last": 65535}}]}
    body = {
        "Peers": [peer(1), peer(2, Key="nodekey:zz"), peer(3, Addresses=7), 5, peer(4)],
        "PeersChangedPatch": [{"NodeID": 1, "Online": True}, {"NodeID": "x"}],
        "PacketFilters": {"base": [rule, {"SrcIPs": "x"}], "gone": None},
        "DERPMap": {"Regions": {"1": {"RegionID": 1, "RegionCode": "a", "RegionName": "A"}, "2": {"RegionID": "?"}}},
        "UserProfiles": [{"ID": 1, "LoginName": "a@"}, None],
    }
    frame, problems = decode_map_response(json.dumps(body).encode())
    assert [node.id for node in frame.peers or ()] == [1, 4]
    assert [patch.node_id for patch in frame.peers_changed_patch or ()] == [1]
    assert frame.packet_filters is not None
    assert len(frame.packet_filters["base"] or ()) == 1
    assert frame.packet_filters["gone"] is None
    assert frame.derp_map is not None
    assert list(frame.derp_map.regions or ()) == [1]
    assert len(frame.user_profiles or ()) == 1
    assert len(problems) == 7
    assert problems[0].startswith("Peers[1] left out: ")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'{"Domain":7}', b'{"Node":{"ID":"x"}}'])
def test_a_broken_frame_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode_map_response(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["Peers", "PeersChanged", "PacketFilters", "PacketFilter", "DERPMap", "UserProfiles", "Node"])


@given(st.dictionaries(names, json_values, max_size=4))
def test_any_json_is_a_frame_or_malformed(body: dict[str, Any]) -> None:
    with suppress(Malformed):
        decode_map_response(json.dumps(body).encode())
