from contextlib import suppress
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire.natpmp import AddressAnswer, MapAnswer, address_request, map_request, parse_answer
from ginnel.wire.read import Malformed, Truncated, WireError

ADDRESS = bytes.fromhex("0080 0000 00000e10 cb007105")
MAPPED = bytes.fromhex("0081 0000 00000e10 a2c9 e000 00001c20")


def test_requests_are_rfc_6886s() -> None:
    assert address_request() == b"\0\0"
    assert map_request(41641, 0, 7200) == bytes.fromhex("0001 0000 a2a9 0000 00001c20")


def test_reads_an_address() -> None:
    assert parse_answer(ADDRESS) == AddressAnswer(0, 3600, IPv4Address("203.0.113.5"))


def test_reads_a_mapping() -> None:
    assert parse_answer(MAPPED) == MapAnswer(0, 3600, 0xA2C9, 0xE000, 7200)


def test_a_refusal_may_end_after_its_epoch() -> None:
    assert parse_answer(bytes.fromhex("0081 0002 00000001")) == MapAnswer(2, 1, 0, 0, 0)
    assert parse_answer(bytes.fromhex("0080 0003 00000001")) == AddressAnswer(3, 1, IPv4Address(0))


def test_what_follows_is_skipped() -> None:
    assert parse_answer(MAPPED + b"more") == parse_answer(MAPPED)


@pytest.mark.parametrize("whole", [ADDRESS, MAPPED])
def test_an_answer_cut_short_anywhere_is_none(whole: bytes) -> None:
    for size in range(len(whole)):
        with pytest.raises(Truncated):
            parse_answer(whole[:size])


@pytest.mark.parametrize("packet", [b"\0\0" + bytes(10), b"\2" + ADDRESS[1:], b"\0\x82" + ADDRESS[2:], bytes(1101)])
def test_a_request_another_version_operation_or_size_is_no_answer(packet: bytes) -> None:
    with pytest.raises(Malformed):
        parse_answer(packet)


@given(st.binary(max_size=64).flatmap(lambda tail: st.sampled_from([tail, b"\0\x80" + tail, b"\0\x81" + tail])))
def test_any_bytes_are_an_answer_or_a_wire_error(packet: bytes) -> None:
    with suppress(WireError):
        assert isinstance(parse_answer(packet), AddressAnswer | MapAnswer)
