"""A log line on a terminal is text, whatever is in it."""

from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.logs.plaintext import plain_line


def test_terminal_escapes_are_shown_and_not_obeyed() -> None:
    assert plain_line("a\x1b[2J\x1b]0;title\x07b") == "a\\x1b[2J\\x1b]0;title\\x07b"
    assert plain_line("\x9b31m") == "\\x9b31m"
    assert plain_line("one\ntwo\r\x08") == "one\\ntwo\\r\\x08"
    assert plain_line("evil\u202etxt\u2028") == "evil\\u202etxt\\u2028"
    assert plain_line("a\tb ünïcode 中") == "a\tb ünïcode 中"


@given(st.text())
def test_nothing_unprintable_is_left(text: str) -> None:
    assert plain_line(text).replace("\t", "").isprintable()
