"""Frames of a map stream: what real servers and clients exchange, in any pieces, within limits."""

import json
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire.mapstream import KEEP_ALIVE, KEEP_ALIVE_JSON, ZSTD, MapDecoder, MapEncoder, decompress, plain_frame
from ginnel.wire.read import Malformed, WireError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CAPTURED = json.loads((Path(__file__).parent.parent / "vectors/control/responses.json").read_text())["map_responses"]
ENCODER = MapEncoder()
both = pytest.mark.parametrize("compress", ["", ZSTD], ids=["plain", "zstd"])


@pytest.mark.parametrize("frame", CAPTURED, ids=lambda f: str(len(f["frame_hex"]) // 2))
def test_reads_frames_that_a_real_client_accepted(frame):
    decoder = MapDecoder(ZSTD)
    [message] = decoder.feed(bytes.fromhex(frame["frame_hex"]))
    assert json.loads(message) == frame["json"]
    assert not decoder


def test_the_keep_alive_frame_is_always_the_same_bytes():
    assert KEEP_ALIVE[ZSTD].hex() == "1b00000028b52ffd2012910000" + b'{"KeepAlive":true}'.hex()
    for compress, frame in KEEP_ALIVE.items():
        assert list(MapDecoder(compress).feed(frame)) == [KEEP_ALIVE_JSON]


@both
@given(messages=st.lists(st.binary(min_size=1, max_size=3000), max_size=4), data=st.data())
def test_messages_survive_any_chunking(compress, messages, data):
    stream = b"".join(ENCODER.frame(message, compress) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = MapDecoder(compress)
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [message for piece in pieces for message in decoder.feed(piece)] == messages
    assert not decoder


@both
@given(data=st.binary(max_size=200))
def test_any_bytes_are_messages_or_refused(compress, data):
    with suppress(WireError):
        list(MapDecoder(compress).feed(data))
    with suppress(WireError):
        list(MapDecoder(compress).feed(plain_frame(data)))


@given(st.binary(min_size=1, max_size=2000))
def test_each_frame_stands_alone_and_says_its_size(message):
    first, second = ENCODER.frame(message, ZSTD), ENCODER.frame(message, ZSTD)
    assert first == second
    assert zstd.get_frame_info(first[4:]).decompressed_size == len(message)


def test_an_unknown_compression_is_an_error_of_ours():
    with pytest.raises(ValueError, match="gzip"):
        ENCODER.frame(b"{}", "gzip")


@both
@pytest.mark.parametrize("size", [0, 1001, 0xFFFFFFFF])
def test_refuses_a_length_by_itself(compress, size):
    with pytest.raises(Malformed):
        list(MapDecoder(compress, limit=1000).feed(size.to_bytes(4, "little")))


def test_a_message_of_the_limit_passes_and_one_byte_more_does_not():
    assert list(MapDecoder(ZSTD, limit=1000).feed(ENCODER.frame(bytes(1000), ZSTD))) == [bytes(1000)]
    with pytest.raises(Malformed, match="more than 1000"):
        list(MapDecoder(ZSTD, limit=1000).feed(ENCODER.frame(bytes(1001), ZSTD)))


def test_a_bomb_costs_no_more_than_the_limit():
    bomb = zstd.compress(bytes(64 << 20), 19)
    assert len(bomb) < 10_000
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            decompress(bomb, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_frame_that_declares_a_false_size_is_refused():
    honest = zstd.compress(b"x" * 300)
    declared = zstd.get_frame_info(honest).decompressed_size
    lying = honest.replace((declared - 256).to_bytes(2, "little"), (40_000).to_bytes(2, "little"), 1)
    assert lying != honest
    with pytest.raises(Malformed):
        decompress(lying, 1 << 20)


def test_refuses_what_follows_the_first_zstd_frame():
    one = zstd.compress(b"{}")
    for body in (one + one, one + b"\0", one[:-1]):
        with pytest.raises(Malformed):
            decompress(body, 1000)
    assert decompress(one, 1000) == b"{}"


def test_messages_before_a_broken_one_are_given():
    messages = MapDecoder("").feed(plain_frame(b"{}") + plain_frame(b""))
    assert next(messages) == b"{}"
    with pytest.raises(Malformed):
        next(messages)
