"""Control messages: what official clients sent and took, Go's rules on input, and what strangers may try."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire import gojson, tailcfg
from ginnel.wire.read import Malformed, WireError
from ginnel.wire.tailcfg import (
    Hostinfo,
    MapRequest,
    MapResponse,
    NetInfo,
    Node,
    PeerChange,
    PingRequest,
    RegisterAuth,
    RegisterRequest,
    RegisterResponse,
    Service,
    decode,
    decode_request,
    encode,
    read_hostinfo,
    stamp,
    wall_time,
)
from ginnel.words import DiscoKey, NodeKey

VECTORS = Path(__file__).parent.parent / "vectors/control"
REQUESTS = json.loads((VECTORS / "requests.json").read_text())["requests"]
RESPONSES = json.loads((VECTORS / "responses.json").read_text())
KEY = NodeKey(bytes(range(32)))
STRUCTS = [
    kind for kind in vars(tailcfg).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
]  # every message of the module
both = pytest.mark.parametrize("read", [decode, decode_request], ids=["decode", "decode_request"])


def without_zeros(value):
    """The same message to Go: members that hold their zero value may be left out."""
    if isinstance(value, dict):
        return {
            name: inner for name, inner in ((n, without_zeros(v)) for n, v in value.items()) if inner or inner == []
        }
    return [without_zeros(inner) for inner in value] if isinstance(value, list) else value


def kind_of(request):
    path = dict(request["headers"])[":path"]
    return {"/machine/register": RegisterRequest, "/machine/map": MapRequest}[path]


@both
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: r["name"])
def test_keeps_all_that_a_real_client_sent(request_, read):
    message = read(kind_of(request_), request_["body"].encode())
    assert without_zeros(json.loads(encode(message))) == without_zeros(json.loads(request_["body"]))


@both
@pytest.mark.parametrize("response", RESPONSES["map_responses"], ids=lambda r: str(r["to_node"]))
def test_writes_maps_as_a_real_client_took_them(response, read):
    message = read(MapResponse, json.dumps(response["json"]).encode())
    assert json.loads(encode(message)) == response["json"]


@pytest.mark.parametrize("response", RESPONSES["register_responses"], ids=lambda r: r["AuthURL"] or r["Error"])
def test_writes_answers_to_registration_as_a_real_client_took_them(response):
    written = json.loads(encode(decode(RegisterResponse, json.dumps(response).encode())))
    assert written == {name: value for name, value in response.items() if name != "NodeKeySignature"}


def test_reads_hostinfo_of_a_real_client():
    bodies = {request["name"]: json.loads(request["body"]) for request in REQUESTS}
    info = read_hostinfo(bodies["map_lite_with_netinfo_and_endpoints"]["Hostinfo"])
    assert (info.hostname, info.os, info.package) == ("alpha", "linux", "tsnet")
    assert info.net_info is not None
    assert info.net_info.preferred_derp == 900
    assert info.net_info.mapping_varies_by_dest_ip is None


def test_reads_what_tailscale_rs_writes():
    body = {
        "Version": 130,
        "KeepAlive": True,
        "NodeKey": str(KEY),
        "DiscoKey": "discokey:" + "0a" * 32,
        "Stream": True,
        "HostInfo": {
            "IpnVersion": "0.5.0",
            "Os": "linux",
            "RoutableIps": ["192.0.2.0/24"],
            "SshHostKeys": ["ssh-ed25519 AAAA"],
            "Services": [{"proto": "tcp", "PORT": 80}],
            "NetInfo": {"PreferredDerp": 3, "DerpLatency": {"3-v4": 0.01}, "WorkingIpv6": None, "MadeUp": 1},
        },
        "Endpoints": [],
        "EndpointTypes": [],
    }
    message = decode_request(MapRequest, json.dumps(body).encode())
    assert (message.version, message.node_key, message.disco_key) == (130, KEY, DiscoKey(bytes([10]) * 32))
    assert read_hostinfo(message.hostinfo) == Hostinfo(
        ipn_version="0.5.0",
        os="linux",
        routable_ips=["192.0.2.0/24"],
        ssh_host_keys=["ssh-ed25519 AAAA"],
        services=[Service("tcp", 80)],
        net_info=NetInfo(preferred_derp=3, derp_latency={"3-v4": 0.01}),
    )


# --- Go's rules --------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("kind", STRUCTS, ids=lambda k: k.__name__)
def test_null_is_the_zero_value_of_every_member_that_has_one(kind, read):
    members = msgspec.structs.fields(kind)
    optional = [member for member in members if not member.required]
    if len(optional) < len(members):
        return  # required keys and names have no zero; see the next test
    assert read(kind, json.dumps(dict.fromkeys((m.encode_name for m in members), None)).encode()) == kind()


@both
def test_null_is_empty_text_and_zero_in_required_members_too(read):
    body = b'{"ID":null,"StableID":"n1","Name":null,"User":null,"Key":"%s","Addresses":null}' % str(KEY).encode()
    assert read(Node, body) == Node(0, "n1", "", 0, KEY, [])
    for key in (b"null", b'""', b'"nodekey:00"', b"7"):
        with pytest.raises(Malformed):
            read(Node, body.replace(b'"%s"' % str(KEY).encode(), key))


@both
def test_null_inside_lists_and_objects(read):
    message = read(MapResponse, b'{"PeersRemoved":[1,null],"Peers":[null],"OnlineChange":{"5":null},"Health":[null]}')
    assert (message.peers_removed, message.peers, message.online_change, message.health) == (
        [1, 0],
        [],
        {5: False},
        [""],
    )
    regions = read(MapResponse, b'{"DERPMap":{"Regions":{"1":null}},"CollectServices":null,"Domain":null}').derp_map
    assert regions is not None
    assert regions.regions == {1: None}
    peer = b'{"NodeID":1,"CapMap":{"a":null,"b":[null,1]},"DERPRegion":null}'
    assert read(PeerChange, peer).cap_map == {"a": None, "b": [None, 1]}


@both
def test_empty_lists_are_not_absent(read):
    message = read(MapResponse, b'{"Health":[],"Peers":[],"PacketFilter":[],"PacketFilters":{"base":[],"x":null}}')
    assert (message.health, message.peers, message.packet_filter) == ([], [], [])
    assert message.packet_filters == {"base": [], "x": None}
    assert json.loads(encode(message)) == {
        "Health": [],
        "Peers": [],
        "PacketFilter": [],
        "PacketFilters": {"base": [], "x": None},
    }


@both
def test_unknown_members_are_skipped_and_the_last_of_two_wins(read):
    assert read(MapRequest, b'{"X":{"y":[1]},"Version":1,"Version":2}').version == 2


def test_names_fold_case_in_requests_and_an_exact_name_wins():
    assert decode_request(MapRequest, b'{"VERSION":3,"nodekey":null}').version == 3
    assert decode_request(MapRequest, b'{"Version":1,"version":2}').version == 1
    assert decode_request(MapRequest, b'{"version":2,"Version":1}').version == 1


def test_a_hostinfo_is_kept_whole():
    body = b'{"Hostinfo":{"Unknown":{"a":[null]},"NetInfo":null}}'
    assert decode_request(MapRequest, body).hostinfo == {"Unknown": {"a": [None]}, "NetInfo": None}
    assert read_hostinfo({"NetInfo": None}).net_info is None
    assert read_hostinfo(None) == Hostinfo()


@both
@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789+02:00", datetime(2026, 1, 2, 1, 4, 5, 123457, tzinfo=UTC)),
        ("1970-01-01T00:02:03Z", datetime(1970, 1, 1, 0, 2, 3, tzinfo=UTC)),
    ],
)
def test_times_have_nanoseconds_and_offsets(read, text, time):
    message = read(RegisterRequest, json.dumps({"Expiry": text}).encode())
    assert message.expiry == time
    assert wall_time(message.expiry) == time.timestamp()


@both
@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+05:00"])
def test_year_1_is_no_time(read, text):
    assert wall_time(read(RegisterRequest, json.dumps({"Expiry": text}).encode()).expiry) is None


def test_a_zero_time_is_written_back_as_go_writes_it():
    assert encode(RegisterRequest(expiry=tailcfg.GO_ZERO_TIME)) == b'{"Expiry":"0001-01-01T00:00:00Z"}'
    assert stamp(None) is None
    assert wall_time(stamp(1.5)) == 1.5


@both
@pytest.mark.parametrize(
    "text", ["", "2026-01-02", "2026-01-02T03:04:05", "2026-13-02T03:04:05Z", "0000-01-01T00:00:00Z"]
)
def test_other_times_are_refused(read, text):
    with pytest.raises(Malformed):
        read(RegisterRequest, json.dumps({"Expiry": text}).encode())


# --- what strangers may try --------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}x",
        b'{"Version":1.5}',
        b'{"Version":"1"}',
        b'{"Version":true}',
        b'{"Version":9223372036854775808}',
        b'{"Version":' + b"9" * 100_000 + b"}",
        b'{"Stream":1}',
        b'{"NodeKey":""}',
        b'{"NodeKey":"mkey:' + b"00" * 32 + b'"}',
        b'{"NodeKey":{"raw":"AAAA"}}',
        b'{"Compress":"\xff"}',
        b'{"Compress":"\\ud800"}',
        b'{"Hostinfo":{"OS":"\xc3\x28"}}',
        b'{"Hostinfo":[]}',
        b'{"EndpointTypes":[NaN]}',
        b'{"Hostinfo":' + b"[" * 200_000,
        b'{"X":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"Hostinfo":' + b'{"a":' * 2_000 + b"1" + b"}" * 2_000 + b"}",
    ],
    ids=lambda b: str(b[:30]),
)
def test_bad_bodies_are_refused(read, body):
    with pytest.raises(Malformed) as refusal:
        read(MapRequest, body)
    assert len(str(refusal.value)) < 300


def test_a_request_of_one_level_too_many_is_refused():
    def nested(levels):
        return b'{"Hostinfo":' + b'{"a":' * (levels - 2) + b"{}" + b"}" * (levels - 2) + b"}"

    decode_request(MapRequest, nested(gojson.DEPTH_LIMIT - 1))
    with pytest.raises(Malformed, match="deeper"):
        decode_request(MapRequest, nested(gojson.DEPTH_LIMIT + 1))


def test_a_request_of_too_many_values_is_refused():
    fits = b'{"EndpointTypes":[' + b"1," * (gojson.TOKEN_LIMIT - 3) + b"1]}"
    assert decode_request(MapRequest, fits).endpoint_types
    with pytest.raises(Malformed, match="more than"):
        decode_request(MapRequest, fits.replace(b"[", b"[1,", 1))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
NAMES = sorted({member.encode_name for kind in STRUCTS for member in msgspec.structs.fields(kind)})


@given(st.sampled_from(STRUCTS), st.dictionaries(st.sampled_from(NAMES), json_values, max_size=6))
def test_any_json_is_a_message_or_refused(kind, value):
    body = json.dumps(value).encode()
    for read in (decode, decode_request):
        with suppress(WireError):
            assert read(kind, encode(read(kind, body))) == read(kind, body)


@given(st.sampled_from(STRUCTS), st.binary(max_size=100))
def test_any_bytes_are_a_message_or_refused(kind, body):
    for read in (decode, decode_request):
        with suppress(WireError):
            read(kind, body)


@pytest.mark.parametrize("step", [1, 7])
def test_a_body_cut_anywhere_is_refused(step):
    body = REQUESTS[0]["body"].encode()
    for size in range(0, len(body), step):
        with pytest.raises(Malformed):
            decode_request(RegisterRequest, body[:size])


# --- output ------------------------------------------------------------------------------------------------------


def test_keys_and_text_are_written_for_tailscale_rs():
    node = Node(1, "n1", "züri<&>.example.", 1, KEY, ["100.64.0.1/32"])
    written = encode(node)
    assert f'"Key":"{KEY}"'.encode() in written
    assert "züri<&>".encode() in written  # no escapes where they can be avoided
    assert b"null" not in written


def test_a_ping_request_names_its_kind_always_and_its_payload_only_if_there_is_one():
    written = json.loads(encode(PingRequest(url="https://a/b")))
    assert written["URLIsNoise"] is False
    assert written["Types"] == ""
    assert "Payload" not in written
    assert decode(PingRequest, b'{"URL":"/x","Types":"c2n","Payload":"aGk="}').payload == b"hi"
    assert not decode(PingRequest, b'{"URL":"/x","Payload":null}').payload


def test_an_auth_key_is_never_shown():
    request = RegisterRequest(auth=RegisterAuth("tskey-auth-abc"))
    assert "tskey" not in repr(request)
    assert b"tskey-auth-abc" in encode(request)


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-12:00", "0002-01-01T00:00:00+23:00"])
def test_any_time_that_can_be_read_can_be_written(text):
    message = decode_request(RegisterRequest, json.dumps({"Expiry": text}).encode())
    written = stamp(wall_time(message.expiry))
    assert written is not None
    assert written.year in (1970, 9999)


@given(st.floats(allow_nan=False))
def test_no_number_of_seconds_is_too_large_to_write(seconds):
    assert stamp(seconds) is not None
