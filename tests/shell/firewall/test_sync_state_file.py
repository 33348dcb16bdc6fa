"""The state as bytes: what was not written is not read."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.firewall.sync_words import Question, Saved, SavedLeaving
from ginnel.shell.firewall.sync_state_file import Clock, boot_clock, read, write

V4, V6 = ip_address("203.0.113.5"), ip_address("2001:db8::5")
SAVED = Saved(
    7,
    ((Question("a.example.com", 4), frozenset((V4,)), 60.0), (Question("", 0), frozenset((V6,)), 300.0)),
    (SavedLeaving(V6, 12.5, Question("", 0), "it left", of=frozenset((Question("b.example.com", 6),))),),
    ((Question("a.example.com", 4), 1200.0),),
)
THEN = Clock("one", 1000.0)
DATA = write(SAVED, "feedkey:aa", THEN)


def test_what_is_written_is_read_with_its_age() -> None:
    assert read(DATA, Clock("one", 1060.0)) == (SAVED, 60.0, "feedkey:aa")


@given(st.integers(0, len(DATA) * 8 - 1))
def test_no_single_bit_that_falls_over_makes_another_state(bit: int) -> None:
    data = bytearray(DATA)
    data[bit // 8] ^= 1 << bit % 8
    try:
        found = read(bytes(data), THEN)
    except ValueError:
        return
    assert found.saved == SAVED, "only the names of the members may differ in case"


@given(st.integers(0, len(DATA) - 1))
def test_a_state_that_is_cut_short_is_none(size: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(DATA[:size], THEN)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"version":1,"at":0,"serial":0,"vouched":[],"leaving":[]}', b"\xff" * 9]
)
def test_what_is_no_state_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(data, THEN)


@pytest.mark.parametrize("now", [Clock("two", 9e9), Clock("", 9e9), Clock("one", 5.0)])
def test_a_time_that_nobody_knows_is_none(now: Clock) -> None:
    """After a restart of the machine, where the wall clock may say what it likes, and in a snapshot that went back."""
    assert read(DATA, now).elapsed == 0.0


def test_where_starts_have_no_names_no_time_has_passed() -> None:
    assert read(write(SAVED, "", Clock("", 0.0)), Clock("", 60.0)).elapsed == 0.0


def test_this_machine_says_of_which_start_it_is() -> None:
    one, other = boot_clock(), boot_clock()
    assert one.boot == other.boot != ""
    assert one.seconds <= other.seconds
