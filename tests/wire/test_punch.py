"""Punch messages: bytes, and what is done with odd ones."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire import disco
from ginnel.wire.punch import NatKind, Punch, Step
from ginnel.wire.read import Malformed, Truncated, WireError
from ginnel.words import Endpoint

V4 = Endpoint.parse("192.0.2.7:40001")
OFFER = Punch(Step.OFFER, b"8 bytes!", NatKind.SEQUENTIAL, V4, delta=-2, ttl=3)
BYTES = (
    bytes.fromhex("6700" + "01020300" + "fffe") + b"8 bytes!" + bytes(10) + bytes.fromhex("ffff" + "c0000207" + "9c41")
)


def test_an_offer_has_these_bytes():
    assert disco.encode(OFFER) == BYTES
    assert disco.decode(BYTES) == OFFER


@given(
    st.builds(
        Punch,
        st.sampled_from(Step),
        st.binary(min_size=8, max_size=8),
        st.sampled_from(NatKind),
        st.builds(Endpoint, st.ip_addresses(v=4), st.integers(0, 65535)),
        st.integers(-32768, 32767),
        st.integers(0, 255),
    )
)
def test_encode_then_decode_is_identity(message):
    assert disco.decode(disco.encode(message)) == message


@given(st.binary(max_size=64), st.binary(max_size=40))
def test_any_bytes_are_a_message_or_a_wire_error(data, tail):
    with suppress(WireError):
        disco.decode(bytes([Punch.kind]) + data)
    with suppress(WireError):
        disco.decode(BYTES[:8] + data + tail)


def test_a_message_cut_short_anywhere_is_truncated():
    for size in range(2, len(BYTES)):
        with pytest.raises(Truncated):
            disco.decode(BYTES[:size])


def test_what_comes_after_and_later_versions_are_skipped():
    assert disco.decode(BYTES[:1] + b"\x09" + BYTES[2:] + b"and more") == OFFER


@pytest.mark.parametrize(("at", "value"), [(2, 0), (2, 5), (3, 4), (3, 255)])
def test_an_unknown_step_or_nat_is_malformed(at, value):
    odd = bytearray(BYTES)
    odd[at] = value
    with pytest.raises(Malformed):
        disco.decode(bytes(odd))


def test_its_number_is_none_that_tailscale_counts_up_to():
    assert Punch.kind >= 0x40
