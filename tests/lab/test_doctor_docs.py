"""docs/doctor.md: its commands run beside real daemons, and what the page shows is the shape of what they print."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.test_two_nodes import pytestmark
from tests.lab.two_hosts import Mesh, joined_mesh

__all__ = ["pytestmark"]
PAGE = (Path(__file__).parents[2] / "docs/doctor.md").read_text()
COMMANDS = re.findall(r"^    (ginnel doctor.*)$", PAGE, re.MULTILINE)
HEAD = re.compile(r"(healthy|degraded|broken): .+")
CAUSE = re.compile(r"\d+\. [a-z0-9-]+ \(\d+%\)")


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with joined_mesh("alice", "bob") as standing:
        yield standing


def shape(text: str) -> None:
    """A verdict, then causes with evidence, in the order of their confidence."""
    lines = text.splitlines()
    assert HEAD.fullmatch(lines[0]), lines[0]
    causes = [line for line in lines[1:] if line[:1].isdigit()]
    assert all(CAUSE.fullmatch(line) for line in causes), causes
    assert all(line.startswith("   ") or not line or line in causes for line in lines[1:] if "%" in line)


def test_the_example_of_the_page_has_the_shape_that_is_checked_here() -> None:
    shape(PAGE.partition("```\n")[2].partition("```")[0])


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_the_page_runs(mesh: Mesh, command: str) -> None:
    words = command.partition("#")[0].split()[1:]
    done = mesh.a.ginnel(*words)
    assert done.returncode in (0, 1), done.stderr
    if "--json" in words:
        found = json.loads(done.stdout)
        assert found.keys() >= {"verdict", "causes", "path", "searching"}
    else:
        shape(done.stdout)
