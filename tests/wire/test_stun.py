"""Binding requests and answers: exact bytes, real exchanges, and what a strict server ignores."""

import json
from binascii import crc32
from contextlib import suppress
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire import stun
from ginnel.wire.read import WireError
from ginnel.words import Endpoint

VECTORS = Path(__file__).parent.parent / "vectors"
EXCHANGES = json.loads((VECTORS / "data/stun.json").read_text())["exchanges"]
MORE_REQUESTS = json.loads((VECTORS / "control/derp_stun.json").read_text())["stun_requests_hex"]
ID = bytes(range(12))
REQUEST = bytes.fromhex("000100142112a442000102030405060708090a0b802200087461696c6e6f6465802800048aabad90")
ANSWER = bytes.fromhex("0101000c2112a442000102030405060708090a0b00200008000183bbea12d545")
SEEN = Endpoint.parse("203.0.113.7:41641")

endpoints = st.builds(Endpoint, st.ip_addresses(), st.integers(0, 0xFFFF))
ids = st.binary(min_size=12, max_size=12)


def answer_with(*attributes):
    body = b"".join(number.to_bytes(2, "big") + len(v).to_bytes(2, "big") + v for number, v in attributes)
    return b"\x01\x01" + len(body).to_bytes(2, "big") + bytes.fromhex("2112a442") + ID + body


def request_with(*attributes, kind=1):
    body = b"".join(number.to_bytes(2, "big") + len(v).to_bytes(2, "big") + v for number, v in attributes)
    head = kind.to_bytes(2, "big") + (len(body) + 8).to_bytes(2, "big") + bytes.fromhex("2112a442") + ID + body
    return head + b"\x80\x28\0\4" + (crc32(head) ^ 0x5354554E).to_bytes(4, "big")


def test_writes_the_known_request_and_answer():
    assert stun.binding_request(ID) == REQUEST
    assert stun.binding_success(ID, SEEN) == ANSWER


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda e: e["tx_id"])
def test_agrees_with_real_exchanges(exchange):
    request, answer = bytes.fromhex(exchange["request"]), bytes.fromhex(exchange["response"])
    source, number = Endpoint.parse(exchange["source"]), bytes.fromhex(exchange["tx_id"])
    assert stun.parse_binding_request(request) == number
    assert stun.binding_request(number) == request
    assert stun.binding_success(number, source) == answer
    assert stun.parse_binding_success(answer) == stun.BindingSuccess(number, source)


@pytest.mark.parametrize("request_hex", MORE_REQUESTS)
def test_accepts_requests_of_real_clients(request_hex):
    packet = bytes.fromhex(request_hex)
    assert stun.binding_request(stun.parse_binding_request(packet)) == packet


@given(ids, endpoints)
def test_an_answer_reads_as_what_was_written(number, endpoint):
    answer = stun.binding_success(number, endpoint)
    assert len(answer) == (32 if endpoint.is_v4 else 44)
    assert stun.parse_binding_success(answer) == stun.BindingSuccess(number, endpoint)


def test_a_mapped_source_is_reported_as_ipv4():
    assert stun.binding_success(ID, Endpoint(IPv6Address("::ffff:203.0.113.7"), 41641)) == ANSWER


@pytest.mark.parametrize("number", [0x0020, 0x8020])
def test_reads_both_numbers_of_the_masked_address(number):
    packet = answer_with((0x8022, b"coturn x"), (number, ANSWER[24:]))
    assert stun.parse_binding_success(packet).mapped == SEEN


def test_falls_back_to_the_plain_address_and_prefers_the_masked_one():
    plain = (0x0001, b"\0\1" + (1234).to_bytes(2, "big") + bytes([192, 0, 2, 1]))
    assert stun.parse_binding_success(answer_with(plain)).mapped == Endpoint.parse("192.0.2.1:1234")
    assert stun.parse_binding_success(answer_with(plain, (0x0020, ANSWER[24:]))).mapped == SEEN
    with pytest.raises(WireError, match="without"):
        stun.parse_binding_success(answer_with())


def test_skips_what_follows_an_answer_and_padding():
    assert stun.parse_binding_success(ANSWER + b"trailing").mapped == SEEN
    padded = answer_with((0x8022, b"abc\0"), (0x0020, ANSWER[24:])).replace(b"\0\4abc\0", b"\0\3abc\0")
    assert stun.parse_binding_success(padded).mapped == SEEN


@pytest.mark.parametrize(
    "packet",
    [
        request_with(),
        request_with((0x8022, b"tailnodf")),
        request_with((0x8022, b"tailnode"), kind=0x0111),
        request_with((0x8022, b"tailnode"))[:-1] + b"\0",
        REQUEST[:20] + REQUEST[32:] + REQUEST[20:32],  # the fingerprint first
        REQUEST + bytes(4),
        ANSWER,
        REQUEST[:2] + b"\0\x10" + REQUEST[4:],
    ],
    ids=["no software", "other software", "other type", "crc", "not last", "trailing", "an answer", "length"],
)
def test_a_server_answers_nothing_else(packet):
    with pytest.raises(WireError):
        stun.parse_binding_request(packet)


def test_a_server_takes_other_attributes_too():
    assert stun.parse_binding_request(request_with((0x8022, b"tailnode"), (0x0003, bytes(4)))) == ID


@pytest.mark.parametrize("size", range(40))
def test_a_cut_packet_is_refused(size):
    with pytest.raises(WireError):
        stun.parse_binding_request(REQUEST[:size])
    if size < 32:
        with pytest.raises(WireError):
            stun.parse_binding_success(ANSWER[:size])


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(packet):
    for parse in (stun.parse_binding_request, stun.parse_binding_success):
        for data in (packet, ANSWER[:20] + packet, REQUEST[:20] + packet):
            with suppress(WireError):
                parse(data)
    assert stun.is_stun(packet) in (True, False)


def test_knows_its_datagrams_from_others():
    assert stun.is_stun(REQUEST)
    assert stun.is_stun(ANSWER)
    assert not stun.is_stun(b"TS\xf0\x9f\x92\xac" + bytes(60))
    assert not stun.is_stun(REQUEST[:19])
