"""Lines in a file: what was written is read, and what a crash or a disk did to it ends there."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.logs.frames import HEAD_SIZE, read_frame, read_head, write_frame
from ginnel.core.logs.upload import Line
from ginnel.wire.read import Malformed
from ginnel.wire.zstdframe import unfold

LINES = [Line(text="a\nb", time="2026-01-02T03:04:05Z"), Line(metrics="m", more=msgspec.Raw(b'{"x":1}'))]


def test_written_lines_are_read() -> None:
    frame = write_frame(7, LINES)
    head = read_head(frame[:HEAD_SIZE], 100)
    assert head is not None
    assert (head.stamp, head.lines, head.start, head.end) == (7, 2, 100 + HEAD_SIZE, 100 + len(frame))
    again = read_frame(frame[HEAD_SIZE:])
    assert [(line.text, line.time, line.metrics) for line in again] == [("a\nb", LINES[0].time, ""), ("", "", "m")]
    assert bytes(again[1].more) == b'{"x":1}'  # type: ignore[arg-type]


def test_each_line_is_one_line_of_json_for_zstdcat() -> None:
    content = unfold(write_frame(7, LINES)[HEAD_SIZE:], 1000, 20)
    assert content.count(b"\n") == 2
    assert content.endswith(b"\n")


@given(st.integers(0, HEAD_SIZE - 1), st.integers(1, 255))
def test_a_changed_head_is_none(at: int, by: int) -> None:
    head = bytearray(write_frame(7, LINES)[:HEAD_SIZE])
    head[at] ^= by
    assert read_head(bytes(head), 0) is None
    assert read_head(bytes(head[:at]), 0) is None


@given(st.data())
def test_a_damaged_body_is_malformed_or_the_lines(data: st.DataObject) -> None:
    body = bytearray(write_frame(7, LINES)[HEAD_SIZE:])
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert [line.text for line in read_frame(bytes(body))] == [line.text for line in LINES]
    except Malformed:
        return
