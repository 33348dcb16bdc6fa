"""A stranger's zstd frame: whole, alone, and never more than was allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire.read import Malformed
from ginnel.wire.zstdframe import TooLong, fold, unfold


@given(st.binary(max_size=5000))
def test_what_was_folded_is_unfolded(body: bytes) -> None:
    assert unfold(fold(body), len(body) + 1, 20) == body


def test_a_frame_that_holds_more_is_too_long_and_one_that_is_cut_is_malformed() -> None:
    frame = fold(b"x" * 10_000)
    with pytest.raises(TooLong):
        unfold(frame, 9_999, 20)
    with pytest.raises(Malformed, match="ends early"):
        unfold(frame[:-1], 10_000_000, 20)
    with pytest.raises(Malformed, match="something follows"):
        unfold(frame + b"x", 20_000, 20)
    with pytest.raises(Malformed):
        unfold(b"", 100, 20)


def test_a_window_beyond_the_bound_is_refused() -> None:
    huge_window = bytes.fromhex("28b52ffd00" + "a8")  # 2 GiB, in the frame's own header
    with pytest.raises(Malformed):
        unfold(huge_window + b"\x01\x00\x00", 100, 23)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_content_or_malformed(body: bytes) -> None:
    try:
        assert len(unfold(body, 1000, 20)) <= 1000
    except Malformed:
        return
