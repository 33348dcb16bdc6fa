"""What an upload may be: official clients' bodies are read, everything else is refused under a name."""

import hashlib
import json
import random
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.logs import limits
from ginnel.core.logs.upload import Line, Target, UploadRefused, read_upload, target_of
from ginnel.wire.zstdframe import fold

PRIVATE = "a8" + "5c" * 31
PUBLIC = hashlib.sha256(bytes.fromhex(PRIVATE)).hexdigest()
OFFICIAL = (
    b'[{"logtail":{"client_time":"2026-01-02T03:04:05.678901234Z","proc_id":123,"proc_seq":7},"v":1,"text":"up\\n"},\n'
    b'{"logtail":{"client_time":"2026-01-02T03:04:06Z"},"metrics":"N08magic"}\n,{"src":"100.64.0.1","bytes":7}]'
)


def refusal(body: bytes, encoding: str = "") -> tuple[int, str]:
    with pytest.raises(UploadRefused) as caught:
        read_upload(body, encoding, "c")
    return caught.value.status, caught.value.reason


def test_the_public_id_is_the_hash_of_the_private_one() -> None:
    assert target_of(f"/c/tailnode.log.tailscale.io/{PRIVATE}") == Target("tailnode.log.tailscale.io", PUBLIC)


@pytest.mark.parametrize(
    "path",
    [
        "/c/x/" + PRIVATE[:-1], f"/c/x/{PRIVATE}0", f"/c/x/{PRIVATE}/", f"/c/x/{PRIVATE}\n", f"/c/{PRIVATE}",
        f"/c/../{PRIVATE}", f"/c/.x/{PRIVATE}", f"/c/x/../{PRIVATE}", f"/c/x/{PRIVATE.upper()}", f"/c//{PRIVATE}",
        f"/c/x%2f/{PRIVATE}", f"//c/x/{PRIVATE}", f"/c/{'x' * 64}/{PRIVATE}", "/c/x/" + "٣" * 64, "/c/x/" + "." * 64,
    ],
)  # fmt: skip
def test_any_other_path_is_no_target(path: str) -> None:
    assert target_of(path) is None


@pytest.mark.parametrize("encoding", ["", "zstd"])
def test_an_official_clients_body_is_read(encoding: str) -> None:
    body = fold(OFFICIAL) if encoding else OFFICIAL
    lines, size = read_upload(body, encoding, "tailnode")
    assert size == len(OFFICIAL)
    assert [(line.time, line.level, line.text, line.metrics) for line in lines] == [
        ("2026-01-02T03:04:05.678901234Z", 1, "up", ""),
        ("2026-01-02T03:04:06Z", 0, "", "N08magic"),
        ("", 0, "", ""),
    ]
    assert json.loads(bytes(lines[2].more)) == {"src": "100.64.0.1", "bytes": 7}  # type: ignore[arg-type]


def test_members_of_another_type_are_nothing() -> None:
    (line,), _ = read_upload(b'[{"logtail":[1],"v":"x","text":{"a":1},"metrics":3}]', "", "c")
    assert line == Line(collection="c")
    (line,), _ = read_upload(b'[{"logtail":{"client_time":"\\u001b[31m"},"v":-1}]', "", "c")
    assert line == Line(collection="c")


def test_a_long_line_is_cut_and_says_so() -> None:
    (line,), _ = read_upload(json.dumps([{"text": "x" * 100_000, "a": "y" * 100_000}]).encode(), "", "c")
    assert line.text == "x" * limits.MAX_TEXT + " [cut]"
    assert len(bytes(line.more)) < limits.MAX_MORE + 100  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "encoding", "expected"),
    [
        (b"", "", (400, "not a JSON array of objects")),
        (b"{}", "", (400, "not a JSON array of objects")),
        (b"[1]", "", (400, "not a JSON array of objects")),
        (b'[{"a":1}', "", (400, "not a JSON array of objects")),
        (b'[{"text":"\xff"}]', "", (400, "not a JSON array of objects")),
        (b'[{"text":"\\ud800"}]', "", (400, "not a JSON array of objects")),
        (b'[{"a":' + b"[" * 5000 + b"]" * 5000 + b"}]", "", (400, "not a JSON array of objects")),
        (b"[]", "gzip", (415, "unknown content encoding")),
        (b"[]", "zstd", (400, "bad zstd")),
        (fold(OFFICIAL)[:-3], "zstd", (400, "bad zstd")),
        (fold(OFFICIAL) + b"x", "zstd", (400, "bad zstd")),
        (b" " * (limits.MAX_BODY + 1), "", (413, "body too large")),
        (b"[" + b"{}," * limits.MAX_LINES + b"{}]", "", (413, "too many lines")),
        (fold(b"[" + b"{}," * 999_999 + b"{}]"), "zstd", (413, "unfolds too far")),
        (b"[" + b"{}," * 200_000 + b"{}]", "", (413, "too many lines")),
        (json.dumps([{"text": "x" * (limits.MAX_ENTRY + 1)}]).encode(), "", (413, "line too long")),
    ],
)  # fmt: skip
def test_bad_uploads_are_refused_under_a_name(body: bytes, encoding: str, expected: tuple[int, str]) -> None:
    assert refusal(body, encoding) == expected


def test_repeated_lines_unfold_within_the_free_ratio_and_a_bomb_does_not() -> None:
    busy = json.dumps([{"text": "the same line again and again"}] * 8000).encode()
    assert len(busy) > 100 * len(fold(busy))
    assert len(read_upload(fold(busy), "zstd", "c")[0]) == 8000
    assert refusal(fold(b"[" + b" " * 200_000_000 + b"]"), "zstd") == (413, "unfolds too far")
    assert refusal(fold(b"[" + b" " * 1_500_000 + b"]"), "zstd") == (413, "unfolds too far")
    mixed = json.dumps([{"text": random.Random(1).randbytes(20_000).hex()}] + [{"text": "x" * 15_000}] * 100).encode()
    assert len(mixed) > limits.FREE_RATIO
    assert read_upload(fold(mixed), "zstd", "c")[1] == len(mixed)


def test_the_worst_that_is_let_in_takes_bounded_memory() -> None:
    nested = b'{"a":[' + b"[]," * 80_000 + b"[]]}"
    worst = [
        b"[" + b"1," * (limits.MAX_BODY // 2 - 2) + b"1]",
        b"[" + b",".join([nested] * 4) + b"]",
        b"[" + b"{}," * (limits.MAX_LINES - 1) + b"{}]",
        b"[" + b"{}," * 340_000 + b"{}]",
        fold(b"[" + b" " * 200_000_000 + b"]"),
    ]
    for body in worst:
        tracemalloc.start()
        with suppress(UploadRefused):
            read_upload(body, "zstd" if body[0] != ord("[") else "", "c")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 32 * limits.MIB


@given(st.binary(max_size=300), st.sampled_from(["", "zstd"]))
def test_any_bytes_are_lines_or_a_refusal(body: bytes, encoding: str) -> None:
    with suppress(UploadRefused):
        read_upload(body, encoding, "c")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
        max_leaves=10,
    )
)
def test_any_json_is_lines_or_a_refusal(value: object) -> None:
    with suppress(UploadRefused):
        read_upload(json.dumps([{"text": value, "more": value}]).encode(), "", "c")
