from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire.generate204 import ANSWER_LIMIT, Answer, head_is_there, parse_answer, request
from ginnel.wire.read import WireError

TRUE = b"HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\nX-Tailscale-Response: response ts_1\r\n\r\n"


def test_the_request_is_a_plain_get_with_the_challenge_and_no_secrets() -> None:
    head = request("203.0.113.1", "ts_1").split(b"\r\n")
    assert head[0] == b"GET /generate_204?t=ts_1 HTTP/1.1"
    assert b"X-Tailscale-Challenge: ts_1" in head
    assert {line.split(b":")[0] for line in head[1:-2]} == {
        b"Host", b"User-Agent", b"Cache-Control", b"X-Tailscale-Challenge", b"Connection",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("came", "read"),
    [
        (TRUE, Answer(204, "response ts_1")),
        (b"HTTP/1.0 204\r\nx-tailscale-response:response ts_1\r\n\r\n", Answer(204, "response ts_1")),
        (b"HTTP/1.1 204 x\nA: b\n\n", Answer(204)),
        (b"HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n", Answer(204)),
        (b"HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Answer(204)),
        (b"HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n", Answer(204, content=True)),
        (b"HTTP/1.1 204 x\r\n\r\n<html>", Answer(204, content=True)),
        (b"HTTP/1.1 204 x\r\n\r\n", Answer(204)),
        (b"HTTP/1.1 302 Found\r\nLocation: http://a/\r\n\r\n", Answer(302, location="http://a/")),
        (b"HTTP/1.1 200 OK\r\nSet-Cookie: " + bytes(2000), Answer(200)),
    ],
)
def test_reads_what_boxes_send(came: bytes, read: Answer) -> None:
    assert parse_answer(came) == read


@pytest.mark.parametrize(
    "came", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 204", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/2 204\r\n\r\n", TRUE[:-2]]
)
def test_what_is_no_whole_answer_is_an_error(came: bytes) -> None:
    with pytest.raises(WireError):
        parse_answer(came)


def test_a_204_whose_head_is_longer_than_is_read_counts_for_nothing() -> None:
    with pytest.raises(WireError):
        parse_answer(b"HTTP/1.1 204 x\r\nA: " + b"a" * ANSWER_LIMIT + b"\r\n\r\n")


@given(st.binary(max_size=1500), st.sampled_from([b"", TRUE[:10], TRUE[:40], b"HTTP/1.1 204 x\r\n"]))
def test_any_bytes_are_an_answer_or_a_wire_error(tail: bytes, head: bytes) -> None:
    with suppress(WireError):
        parse_answer(head + tail)


@given(st.integers(0, len(TRUE) - 1))
def test_a_204_cut_short_anywhere_is_an_error(at: int) -> None:
    assert not head_is_there(TRUE[:at])
    with pytest.raises(WireError):
        parse_answer(TRUE[:at])
