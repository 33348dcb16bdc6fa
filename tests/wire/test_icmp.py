from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire.icmp import EchoReply, checksum, echo_request, parse_echo_reply, without_ip_header
from ginnel.wire.read import WireError

U16 = st.integers(0, 0xFFFF)
CAPTURED = bytes.fromhex("0800f7fd00010001")  # RFC 792's layout, sum done by hand: 0x0800 + 1 + 1 = 0x0802


def reply_to(request: bytes) -> bytes:
    answer = b"\0\0\0\0" + request[4:]
    return answer[:2] + checksum(answer).to_bytes(2, "big") + answer[4:]


def test_the_smallest_request_is_eight_bytes() -> None:
    assert echo_request(1, 1, b"") == CAPTURED


@given(U16, U16, st.binary(max_size=80))
def test_a_request_that_comes_back_as_a_reply_is_read(number: int, sequence: int, payload: bytes) -> None:
    answer = reply_to(echo_request(number, sequence, payload))
    assert parse_echo_reply(answer) == EchoReply(number, sequence, payload)
    header = bytes([0x46]) + bytes(23)
    assert without_ip_header(header + answer) == answer


def test_requests_and_broken_sums_are_refused() -> None:
    with pytest.raises(WireError):
        parse_echo_reply(echo_request(1, 1, b"x"))
    broken = bytearray(reply_to(echo_request(1, 1, b"x")))
    broken[-1] ^= 1
    with pytest.raises(WireError):
        parse_echo_reply(bytes(broken))


@given(st.binary(max_size=100))
def test_any_bytes_are_a_reply_or_a_wire_error(packet: bytes) -> None:
    with suppress(WireError):
        parse_echo_reply(packet)
    with suppress(WireError):
        without_ip_header(packet)
