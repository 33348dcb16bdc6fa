"""The allowlist feed: signed, verified, refused."""

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire import allowlist
from ginnel.wire.allowlist import Entry, Feed, FeedKey, FeedPrivate, FeedRefused, sign_feed, verify_feed
from ginnel.wire.read import Malformed, WireError
from ginnel.words import WallTime

PRIVATE = FeedPrivate(bytes(range(32)))
KEY = PRIVATE.public()
NOW = WallTime(1_800_000_100.0)
CONTROL = Entry("vpn.example.com", "SNI", "control", ("443/tcp", "80/tcp"), (IPv4Address("198.51.100.7"),))
RELAY = Entry(
    "fra1.example.net", "SNI", "relay", ("443/tcp", "3478/udp", "80/tcp"),
    (IPv4Address("203.0.113.4"),), (IPv6Address("2001:db8::4"),), "fast", 901, "fra", "901a",
)  # fmt: skip
FEED = Feed("https://vpn.example.com", 7, 1_800_000_000, 1_800_086_400, (CONTROL, RELAY))


def test_what_a_server_signs_is_what_a_client_reads() -> None:
    feed = replace(FEED, pending=(replace(RELAY, use_after=1_800_000_900),), leaving=(replace(RELAY, until=1),))
    assert verify_feed(sign_feed(feed, PRIVATE), KEY, 7, NOW) == feed


def test_a_person_reads_it_with_any_json_reader() -> None:
    document = json.loads(json.loads(sign_feed(FEED, PRIVATE))["signed"])
    assert [entry["name"] for entry in document["entries"]] == ["vpn.example.com", "fra1.example.net"]
    assert document["entries"][1]["ipv6"] == ["2001:db8::4"]


def test_how_the_envelope_is_spelled_does_not_matter() -> None:
    """A proxy may write the same JSON in another way; the signature is over the text within."""
    spelled = json.dumps(json.loads(sign_feed(FEED, PRIVATE)), indent=3, ensure_ascii=True, sort_keys=True)
    assert verify_feed(spelled.replace("/", "\\/").encode(), KEY, 0, NOW) == FEED


def test_the_signature_is_over_the_context_and_the_text() -> None:
    """Pins the bytes: a reader in another language has only these to go by (deterministic, RFC 8032 §5.1.6)."""
    envelope = json.loads(sign_feed(FEED, PRIVATE))
    assert envelope["key"] == "feedkey:03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
    made = allowlist.Ed25519PrivateKey.from_private_bytes(PRIVATE.seed).sign(b"ginnel allowlist feed 1\n{}")
    assert PRIVATE.sign(b"{}") == made
    assert made.hex().startswith("07f4476a97410b14002051ec87958cf7")


@given(st.data())
def test_a_changed_byte_anywhere_in_what_is_signed_is_refused(data: st.DataObject) -> None:
    envelope = json.loads(sign_feed(FEED, PRIVATE))
    signed = envelope["signed"]
    at = data.draw(st.integers(0, len(signed) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda c: c != signed[at]))
    envelope["signed"] = signed[:at] + other + signed[at + 1 :]
    with pytest.raises(FeedRefused) as refused:
        verify_feed(json.dumps(envelope).encode(), KEY, 0, NOW)
    assert refused.value.why == "signature"


def test_another_key_is_refused_whatever_the_envelope_says() -> None:
    stranger = FeedPrivate(bytes(32))
    envelope = json.loads(sign_feed(FEED, stranger)) | {"key": str(KEY)}
    with pytest.raises(FeedRefused, match="not signed by feedkey:") as refused:
        verify_feed(json.dumps(envelope).encode(), KEY, 0, NOW)
    assert refused.value.why == "signature"
    with pytest.raises(FeedRefused, match=f"signed by {stranger.public()}"):
        verify_feed(sign_feed(FEED, stranger), KEY, 0, NOW)


@pytest.mark.parametrize("signature", ["", "AAAA", "!", "A" * 88])
def test_what_is_no_signature_is_refused(signature: str) -> None:
    envelope = json.loads(sign_feed(FEED, PRIVATE)) | {"signature": signature}
    with pytest.raises(FeedRefused):
        verify_feed(json.dumps(envelope).encode(), KEY, 0, NOW)


def test_a_signature_for_something_else_by_the_same_key_is_refused() -> None:
    document = json.loads(sign_feed(FEED, PRIVATE))["signed"]
    bare = allowlist.Ed25519PrivateKey.from_private_bytes(PRIVATE.seed).sign(document.encode())
    envelope = {"signed": document, "signature": allowlist.base64.b64encode(bare).decode()}
    with pytest.raises(FeedRefused):
        verify_feed(json.dumps(envelope).encode(), KEY, 0, NOW)


def test_an_older_feed_played_again_is_refused() -> None:
    assert verify_feed(sign_feed(FEED, PRIVATE), KEY, 7, NOW).serial == 7
    with pytest.raises(FeedRefused, match="serial 7, 8 was seen") as refused:
        verify_feed(sign_feed(FEED, PRIVATE), KEY, 8, NOW)
    assert refused.value.why == "rollback"


def test_a_feed_whose_time_is_over_is_refused() -> None:
    assert verify_feed(sign_feed(FEED, PRIVATE), KEY, 0, WallTime(FEED.expires)) == FEED
    with pytest.raises(FeedRefused, match="over 1 s ago") as refused:
        verify_feed(sign_feed(FEED, PRIVATE), KEY, 0, WallTime(FEED.expires + 1.0))
    assert refused.value.why == "expired"


@pytest.mark.parametrize(
    "name",
    ["-flush", "a b.example", "a;b.example", "UPPER.example", "dot.example.", "a..b", "x" * 64, "10.0.0.1",
     "a\nb.example", '".example', "é.example", "a.-b", "*.example.com", "/etc/passwd", ".a"],
)  # fmt: skip
def test_a_signed_name_that_is_no_host_name_is_refused(name: str) -> None:
    with pytest.raises(Malformed, match="no host name"):
        verify_feed(sign_feed(replace(FEED, entries=(replace(CONTROL, name=name),)), PRIVATE), KEY, 0, NOW)


@pytest.mark.parametrize("port", ["443", "0/tcp", "65536/tcp", "443/sctp", "443/tcp; reboot", "443/tcp\n"])
def test_a_signed_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(Malformed, match="no port"):
        verify_feed(sign_feed(replace(FEED, entries=(replace(CONTROL, ports=(port,)),)), PRIVATE), KEY, 0, NOW)


@pytest.mark.parametrize("code", ["a b", "$(x)", "a\n", '"'])
def test_a_signed_code_with_other_characters_is_refused(code: str) -> None:
    for entry in (replace(RELAY, region_code=code), replace(RELAY, node=code)):
        with pytest.raises(Malformed, match="not allowed"):
            verify_feed(sign_feed(replace(FEED, entries=(entry,)), PRIVATE), KEY, 0, NOW)


@pytest.mark.parametrize(
    ("member", "value"),
    [("ipv4", ["2001:db8::1"]), ("ipv4", ["1.2.3"]), ("ipv6", ["fe80::1%eth0"]), ("ipv4", [1]), ("level", "L4"),
     ("role", "boss"), ("region", -1), ("name", None), ("ipv4", ["192.0.2.1"] * 2000), ("until", 1e300)],
)  # fmt: skip
def test_a_signed_entry_of_another_form_is_refused(member: str, value: object) -> None:
    document = json.loads(json.loads(sign_feed(FEED, PRIVATE))["signed"])
    document["entries"][0][member] = value
    with pytest.raises(Malformed):
        verify_feed(_signed(document), KEY, 0, NOW)


def test_an_entry_of_nothing_is_refused() -> None:
    with pytest.raises(Malformed, match="neither a name nor an address"):
        verify_feed(sign_feed(replace(FEED, entries=(replace(CONTROL, name="", ipv4=()),)), PRIVATE), KEY, 0, NOW)


def test_another_version_is_refused() -> None:
    document = json.loads(json.loads(sign_feed(FEED, PRIVATE))["signed"]) | {"version": 2}
    with pytest.raises(Malformed, match="version 1"):
        verify_feed(_signed(document), KEY, 0, NOW)


def test_members_that_this_version_does_not_know_are_skipped() -> None:
    document = json.loads(json.loads(sign_feed(FEED, PRIVATE))["signed"]) | {"weather": "rain"}
    assert verify_feed(_signed(document), KEY, 0, NOW) == FEED


def test_a_feed_that_is_too_big_is_not_even_read() -> None:
    with pytest.raises(Malformed, match="at most"):
        verify_feed(b" " * (allowlist.MAX_BYTES + 1), KEY, 0, NOW)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_feed_or_a_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        verify_feed(data, KEY, 0, NOW)


@given(
    st.recursive(st.none() | st.integers() | st.text(max_size=8), lambda c: st.lists(c) | st.dictionaries(st.text(), c))
)
def test_any_signed_json_is_a_feed_or_a_wire_error(document: object) -> None:
    with pytest.raises(WireError):
        verify_feed(_signed(document), KEY, 0, NOW)


@pytest.mark.parametrize("signed", ["\\ud800", "\\udc00\\ud800"])
def test_half_a_surrogate_pair_is_refused(signed: str) -> None:
    with pytest.raises(WireError):
        verify_feed(f'{{"signed": "{signed}", "signature": ""}}'.encode(), KEY, 0, NOW)


def test_keys_are_read_as_they_are_printed_and_the_private_one_never_shows() -> None:
    assert FeedKey.parse(str(KEY)) == KEY
    assert PRIVATE.seed.hex() not in repr(PRIVATE)
    assert str(PRIVATE.seed) not in repr(PRIVATE)


def _signed(document: object) -> bytes:
    text = msgspec.json.encode(document)
    signature = allowlist.base64.b64encode(PRIVATE.sign(text)).decode()
    return msgspec.json.encode({"signed": text.decode(), "signature": signature})
