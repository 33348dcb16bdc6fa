from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire.pcp import MAP, Mapping, PcpAnswer, announce_request, map_request, parse_answer
from ginnel.wire.read import Malformed, WireError

OWN = IPv4Address("192.168.1.7")
NONCE = bytes(range(12))
MAPPED = bytes.fromhex(
    "02 81 00 00 00001c20 00000e10 000000000000000000000000"
    "000102030405060708090a0b 11 000000 a2a9 e000 00000000000000000000ffffcb007105"
)


def test_requests_are_rfc_6887s() -> None:
    assert announce_request(OWN) == bytes.fromhex("02 00 0000 00000000 00000000000000000000ffffc0a80107")
    assert map_request(OWN, NONCE, 41641, 0, 7200) == bytes.fromhex(
        "02 01 0000 00001c20 00000000000000000000ffffc0a80107"
        "000102030405060708090a0b 11 000000 a2a9 0000 00000000000000000000ffff00000000"
    )


def test_a_nonce_of_another_size_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="12 bytes"):
        map_request(OWN, b"short", 1, 0, 1)


def test_reads_a_mapping() -> None:
    mapping = Mapping(NONCE, 17, 41641, 0xE000, IPv4Address("203.0.113.5"))
    assert parse_answer(MAPPED) == PcpAnswer(MAP, 0, 7200, 3600, mapping)


def test_an_external_ipv6_address_stays_one() -> None:
    answer = parse_answer(MAPPED[:44] + IPv6Address("2001:db8::1").packed)
    assert answer.mapping is not None
    assert answer.mapping.external == IPv6Address("2001:db8::1")


def test_a_refusal_may_come_without_a_mapping() -> None:
    assert parse_answer(bytes.fromhex("02 81 00 02 0000001e 00000001") + bytes(12)) == PcpAnswer(MAP, 2, 30, 1)


def test_options_are_skipped() -> None:
    assert parse_answer(MAPPED + bytes.fromhex("02000000")) == parse_answer(MAPPED)


def test_an_answer_cut_short_anywhere_is_none() -> None:
    for size in range(len(MAPPED)):
        with pytest.raises(WireError):
            parse_answer(MAPPED[:size])


@pytest.mark.parametrize("packet", [b"\2\1" + MAPPED[2:], b"\0" + MAPPED[1:], MAPPED + b"x", bytes(1104)])
def test_a_request_another_version_or_an_odd_size_is_no_answer(packet: bytes) -> None:
    with pytest.raises(Malformed):
        parse_answer(packet)


@given(st.binary(max_size=80), st.sampled_from([b"", b"\2\x80", b"\2\x81\0\0", b"\2\xff"]))
def test_any_bytes_are_an_answer_or_a_wire_error(tail: bytes, head: bytes) -> None:
    packet = head + tail
    with suppress(WireError):
        assert isinstance(parse_answer(packet + bytes(-len(packet) % 4)), PcpAnswer)
