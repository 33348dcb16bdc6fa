"""What the demo writes: plain ANSI on a terminal, plain lines everywhere else.

Room: lab.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

BOLD, GREEN, YELLOW, DIM, PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
UP_AND_CLEAR = "\x1b[1A\x1b[2K"
WIDTHS = (8, 8, 16, 34)


def amount(size: int) -> str:
    """Bytes for people: 999 B, 1.5 kB, 20.0 MB."""
    if size < 1000:
        return f"{size} B"
    return f"{size / 1e3:.1f} kB" if size < 1_000_000 else f"{size / 1e6:.1f} MB"


class Screen:
    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.colour = out.isatty()

    def lines(self, *lines: str) -> None:
        for line in lines:
            self.out.write(f"{line}\n")
        self.out.flush()

    def title(self, words: str) -> None:
        self.lines("", self.paint(BOLD, f"== {words}"))

    def step(self, words: str) -> None:
        self.lines(self.paint(DIM, f"   {words}"))

    def paint(self, how: str, words: str) -> str:
        return f"{how}{words}{PLAIN}" if self.colour else words


class Table:
    """Redrawn in place on a terminal; elsewhere a line is written when what it says, traffic apart, has changed."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.drawn = 0
        self.said: dict[int, str] = {}

    def draw(self, rows: Sequence[tuple[str, ...]]) -> None:
        if self.screen.colour:
            self.screen.out.write(UP_AND_CLEAR * self.drawn)
            self.drawn = len(rows)
            self.screen.lines(*(self.line(row) for row in rows))
            return
        for number, row in enumerate(rows):
            path = row[3]
            if self.said.get(number) != path:
                self.said[number] = path
                self.screen.lines(self.line(row))

    def line(self, row: tuple[str, ...]) -> str:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, WIDTHS, strict=False)]
        colour = GREEN if row[3].startswith("direct") else YELLOW
        cells[3] = self.screen.paint(colour, cells[3])
        return "   " + " ".join([*cells, row[4]]).rstrip()
