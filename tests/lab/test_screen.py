import io

import pytest

from ginnel.lab.screen import Screen, Table, amount

RELAYED = ("alice", "bob", "100.64.0.2", 'relay "lab"', "tx 1 B rx 2 B")
DIRECT = ("alice", "bob", "100.64.0.2", "direct 192.0.2.6:41641", "tx 3 B rx 4 B")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("size", "words"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (20_000_000, "20.0 MB")])
def test_amounts_are_for_people(size, words):
    assert amount(size) == words


def test_without_a_terminal_a_line_is_written_when_the_path_changes_and_no_escape_ever():
    out = io.StringIO()
    table = Table(Screen(out))
    for row in (RELAYED, RELAYED, DIRECT, DIRECT):
        table.draw([row])
    lines = out.getvalue().splitlines()
    assert [line.split(None, 3)[3][:6] for line in lines] == ["relay ", "direct"]
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_a_row_is_redrawn_in_its_place():
    out = Terminal()
    table = Table(Screen(out))
    table.draw([RELAYED, RELAYED])
    assert "\x1b[1A" not in out.getvalue()
    table.draw([DIRECT, DIRECT])
    assert out.getvalue().count("\x1b[1A") == 2
