"""What a node says of itself, made safe to hand on."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.control import limits
from ginnel.core.control.statement import Stated, for_peers, home_of, kept_endpoints, kept_hostinfo, safe_text
from ginnel.wire.tailcfg import encode

json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
members = [field.encode_name for field in msgspec.structs.fields(Stated)] + ["NetInfo", "TPM"]


@given(st.dictionaries(st.sampled_from(members) | st.text(max_size=10), json_values, max_size=12))
def test_whatever_came_peers_can_decode_what_goes_on(hostinfo: dict[str, Any]) -> None:
    kept = kept_hostinfo(hostinfo)
    msgspec.json.decode(msgspec.json.encode(for_peers(kept)), type=Stated)
    assert b"\\" not in encode(kept)
    assert 0 <= home_of(hostinfo) <= 65535


@given(st.lists(st.text(max_size=40), max_size=80))
def test_whatever_came_endpoints_can_be_parsed(texts: list[str]) -> None:
    assert len(kept_endpoints(texts)) <= limits.MAX_ENDPOINTS


def test_member_names_of_another_case_are_known() -> None:
    assert kept_hostinfo({"HostName": "a", "Os": "linux"}) == {"Hostname": "a", "OS": "linux"}


def test_one_bad_member_costs_only_itself() -> None:
    services = [{"Proto": "peerapi4", "Port": 1}, {"Proto": "tcp", "Port": 22}]
    kept = kept_hostinfo({"OS": 5, "Hostname": "a", "Services": services, "sshHostKeys": [1]})
    assert kept == {"Hostname": "a", "Services": [{"Proto": "peerapi4", "Port": 1}]}


def test_net_info_absent_or_zero_names_no_home() -> None:
    assert [home_of(h) for h in (None, {}, {"NetInfo": None}, {"NetInfo": {"PreferredDERP": 0}})] == [0, 0, 0, 0]
    assert home_of({"NetInfo": {"PreferredDERP": 900}}) == 900
    assert home_of({"NetInfo": {"PreferredDerp": 900}}) == 900
    assert home_of({"NetInfo": {"PreferredDERP": 65536}}) == 0


def test_endpoints_over_the_limit_are_left_out() -> None:
    many = [f"192.0.2.{n}:1" for n in range(limits.MAX_ENDPOINTS + 1)]
    assert kept_endpoints(many) == tuple(many[:-1])


def test_text_over_the_limit_is_cut() -> None:
    assert safe_text("a" * (limits.MAX_TEXT + 1)) == "a" * limits.MAX_TEXT
    assert kept_hostinfo({"Hostname": "a" * (limits.MAX_HOST_NAME + 1)})["Hostname"] == "a" * limits.MAX_HOST_NAME


def test_peers_are_not_told_log_ids_routes_and_wishes() -> None:
    shown = for_peers(
        kept_hostinfo({"BackendLogID": "x", "RoutableIPs": ["10.0.0.0/8"], "RequestTags": ["tag:a"], "OS": "l"})
    )
    assert shown == {"OS": "l"}


def test_no_more_is_read_of_a_flood_than_could_be_kept() -> None:
    flood = iter(["nonsense"] * 50_000)
    assert kept_endpoints(flood) == ()
    assert len(list(flood)) > 49_000
    assert safe_text("\0" * 100_000 + "a") == ""
