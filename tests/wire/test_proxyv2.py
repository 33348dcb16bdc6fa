"""The PROXY v2 preamble."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire.proxyv2 import HEADER_SIZE, MAX_SIZE, SIGNATURE, Preamble, encode_preamble, parse_preamble
from ginnel.wire.read import WireError

addresses = st.ip_addresses().map(str)


@given(addresses, st.integers(0, 65535), st.booleans(), st.binary(max_size=40))
def test_what_was_encoded_is_read_back_and_the_rest_left(host: str, port: int, tls: bool, rest: bytes) -> None:
    preamble = encode_preamble((host, port), tls=tls)
    assert parse_preamble(preamble + rest) == (Preamble((host, port), tls), len(preamble))
    assert all(parse_preamble(preamble[:size]) is None for size in range(len(preamble)))


@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_are_a_preamble_or_incomplete_or_a_wire_error(data: bytes, signed: bool) -> None:
    with suppress(WireError):
        parse_preamble(SIGNATURE + data if signed else data)


def test_haproxys_own_check_is_local() -> None:
    assert parse_preamble(SIGNATURE + b"\x20\x00\x00\x00") == (Preamble(None), HEADER_SIZE)


@pytest.mark.parametrize("head", [b"\x31\x11\x00\x0c", b"\x21\x12\x00\x0c", b"\x21\x31\x00\x0c"])
def test_other_versions_and_families_are_refused(head: bytes) -> None:
    with pytest.raises(WireError):
        parse_preamble(SIGNATURE + head + bytes(12))


def test_one_byte_over_the_limit_is_refused_before_it_comes() -> None:
    with pytest.raises(WireError, match=str(MAX_SIZE)):
        parse_preamble(SIGNATURE + b"\x21\x11" + (MAX_SIZE + 1).to_bytes(2, "big"))
