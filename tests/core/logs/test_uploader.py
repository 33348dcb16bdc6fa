"""The node's own uploads under a clock of their own."""

import json

import pytest

from ginnel.core.logs import limits
from ginnel.core.logs.upload import read_upload
from ginnel.core.logs.uploader import Upload, Uploader
from ginnel.words import Instant, MachinePrivate, NodePrivate, WallTime

WALL = WallTime(1_800_000_000.25)


def uploader() -> Uploader:
    return Uploader(process=7, jitter=lambda: 0.5)


def at(now: float) -> Instant:
    return Instant(now)


def texts(upload: Upload | None) -> list[str]:
    assert upload is not None
    return [line.text for line in read_upload(upload.body, upload.encoding, "c")[0]]


def test_lines_of_two_seconds_go_together_and_an_idle_node_sends_nothing() -> None:
    core = uploader()
    assert core.next_timeout() is None
    core.line("one", WALL, at(10.0))
    core.line("two", WALL, at(11.5))
    assert core.next_timeout() == 12.0
    assert core.tick(at(11.9), WALL) is None
    upload = core.tick(at(12.0), WALL)
    assert texts(upload) == ["one", "two"]
    assert core.next_timeout() is None
    core.taken(at(12.1))
    assert (core.next_timeout(), core.tick(at(100.0), WALL)) == (None, None)


def test_a_body_has_the_official_form() -> None:
    core = uploader()
    core.line("hello", WALL, at(0.0))
    upload = core.tick(at(2.0), WALL)
    assert upload is not None
    assert (upload.encoding, upload.size) == ("", len(upload.body))
    assert json.loads(upload.body) == [
        {"logtail": {"client_time": "2027-01-15T08:00:00.250000Z", "proc_id": 7, "proc_seq": 1}, "text": "hello\n"}
    ]


def test_a_body_is_compressed_where_it_saves_something() -> None:
    core = uploader()
    for _ in range(100):
        core.line("the same", WALL, at(0.0))
    upload = core.tick(at(2.0), WALL)
    assert upload is not None
    assert upload.encoding == "zstd"
    assert len(upload.body) < upload.size / 5


def test_one_upload_at_a_time_and_the_same_again_until_it_is_taken() -> None:
    core = uploader()
    core.line("one", WALL, at(0.0))
    first = core.tick(at(2.0), WALL)
    core.line("two", WALL, at(2.1))
    assert core.tick(at(50.0), WALL) is None
    core.failed(at(50.0))
    assert core.next_timeout() == 50.0 + 45.0
    again = core.tick(at(95.0), WALL)
    assert again == first
    core.taken(at(95.1))
    assert texts(core.tick(at(98.0), WALL)) == ["two"]


@pytest.mark.parametrize(("asked", "wait"), [(7.0, 7.0), (300.0, 300.0), (86400.0, 300.0), (1e300, 300.0), (0.0, 45.0)])
def test_retry_after_is_honoured_up_to_five_minutes(asked: float, wait: float) -> None:
    core = uploader()
    core.line("one", WALL, at(0.0))
    core.tick(at(2.0), WALL)
    core.failed(at(10.0), 503, asked)
    assert core.next_timeout() == 10.0 + wait


def test_without_it_half_a_minute_to_a_minute() -> None:
    for jitter in (0.0, 0.999):
        core = Uploader(7, lambda jitter=jitter: jitter)  # type: ignore[misc]
        core.line("one", WALL, at(0.0))
        core.tick(at(2.0), WALL)
        core.failed(at(10.0))
        assert 40.0 <= (core.next_timeout() or 0) <= 70.0


def test_what_the_host_will_never_take_is_not_offered_again_and_its_loss_is_told() -> None:
    core = uploader()
    core.line("poison", WALL, at(0.0))
    core.tick(at(2.0), WALL)
    core.failed(at(3.0), 400, 300.0)
    core.line("good", WALL, at(4.0))
    assert texts(core.tick(at(303.0), WALL))[0] == "good"


def test_a_host_that_is_down_costs_a_few_mib_and_the_oldest_lines() -> None:
    core = uploader()
    core.line("first of all", WALL, at(0.0))
    core.tick(at(2.0), WALL)
    core.failed(at(2.0))
    for number in range(12_000):
        core.line(f"{number} " + "x" * 500, WALL, at(3.0))
    assert core._size <= limits.MAX_BUFFER
    said = []
    now = 100.0
    while (upload := core.tick(at(now), WALL)) is not None:
        assert upload.size <= limits.MAX_BATCH + 2
        said += texts(upload)
        core.taken(at(now))
        now += 3.0
    assert said[0] == "first of all"
    assert any("lines were lost" in text for text in said)
    assert [text for text in said if text.startswith("11999 ")]
    assert not [text for text in said if text.startswith("0 ")]


def test_a_long_line_is_cut() -> None:
    core = uploader()
    core.line("x" * 1_000_000, WALL, at(0.0))
    assert len(texts(core.tick(at(2.0), WALL))[0]) == limits.MAX_TEXT + 6


def test_the_servers_word_ends_it_for_good() -> None:
    core = uploader()
    core.line("one", WALL, at(0.0))
    core.tick(at(2.0), WALL)
    core.disable()
    core.failed(at(3.0))
    core.line("two", WALL, at(4.0))
    assert (core.next_timeout(), core.tick(at(1000.0), WALL), len(core._waiting)) == (None, None, 0)


def test_no_key_is_in_what_goes_out() -> None:
    core = uploader()
    machine, node = MachinePrivate(bytes(range(32))), NodePrivate(bytes(range(32, 64)))
    secrets = [
        machine.secret_text(),
        machine.raw.hex(),
        node.secret_text(),
        node.raw.hex(),
        "gkey-aabbccddeeff-" + "0" * 40,
    ]
    for secret in secrets:
        core.line(f"a careless line with {secret} in it", WALL, at(0.0))
    said = "\n".join(texts(core.tick(at(2.0), WALL)))
    assert "careless" in said
    assert not [secret for secret in secrets if secret in said]


def test_what_cannot_be_utf8_is_uploaded_all_the_same() -> None:
    core = uploader()
    core.line("file \udcff", WALL, at(0.0))
    assert texts(core.tick(at(2.0), WALL)) == ["file ?"]
