"""docs/promises.md: each row of it names tests, and each of these is there to be run."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import click
import pytest

from ginnel.cli.commands import ginnel

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/promises.md"
CELL = re.compile(r"(?<!\\)\|")
TEST = re.compile(r"(tests/[\w/]+\.py)::([\w:]+)(\[.*\])?")


def rows() -> list[list[str]]:
    """Name, promise, command, tests of each row; heads and rules of the tables are left out."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in CELL.split(line)[1:-1]] for line in lines]
    return [row for row in cells if row[0] and not set(row[0]) <= {"-"}]


ROWS = rows()
NAMES = [row[0] for row in ROWS]


@cache
def collected(path: Path) -> frozenset[str]:
    """`test_...` and `Class::test_...` of a file that pytest collects."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        body = node.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test") else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        functions = [each for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
        found |= {prefix + each.name for each in functions if each.name.startswith("test_")}
    return frozenset(found)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_each_row_has_its_promise_its_command_and_tests_that_are_there(row: list[str]) -> None:
    name, promise, command, tests = row
    assert re.fullmatch(r"\w+-\d+", name)
    assert promise
    assert command
    named = tests.split(", ")
    for each in named:
        match = TEST.fullmatch(each)
        assert match, f"{each!r} is no PATH::NAME"
        path = ROOT / match[1]
        assert path.name.startswith("test_")
        assert path.is_file(), f"there is no {match[1]}"
        assert match[2] in collected(path), f"{match[1]} has no {match[2]}"
    assert len(set(named)) == len(named)


TYPED = [(row[0], command) for row in ROWS for command in re.findall(r"`(ginnel [^`]*)`", row[2])]


@pytest.mark.parametrize("command", [command for _, command in TYPED], ids=[f"{n}: {c}" for n, c in TYPED])
def test_each_command_of_the_page_is_one_with_options_that_it_has(command: str) -> None:
    _, *words = command.split()
    found: click.Command = ginnel
    while isinstance(found, click.Group) and words:
        inner = found.get_command(click.Context(found), words.pop(0))
        assert inner is not None, command
        found = inner
    assert not isinstance(found, click.Group), command
    known = {name for option in found.params for name in (*option.opts, *option.secondary_opts)}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known


def test_no_row_stands_there_twice_and_no_section_is_empty() -> None:
    assert len(set(NAMES)) == len(NAMES)
    sections = PAGE.read_text().split("\n## ")[1:]
    assert sections
    for section in sections:
        assert re.search(r"^\| \w+-\d+ \|", section, re.MULTILINE), section.partition("\n")[0]


@pytest.mark.parametrize("line", ["", "tests/none.py::test_x", "tests/test_promises.py::test_x", "test_promises"])
def test_a_test_that_is_not_there_would_be_missed(line: str) -> None:
    with pytest.raises(AssertionError):
        test_each_row_has_its_promise_its_command_and_tests_that_are_there(["x-1", "promise", "command", line])


@pytest.mark.parametrize("page", ["docs/testing.md", "README.md"])
def test_the_page_is_led_to(page: str) -> None:
    assert re.search(r"\]\((docs/)?promises\.md\)", (ROOT / page).read_text())
