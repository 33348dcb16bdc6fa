"""What tests of the lab share. Those that build namespaces need root."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ginnel.lab.processes import until
from ginnel.lab.registry import ROOT

IS_ROOT = os.geteuid() == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "root" in item.keywords and not IS_ROOT:
            item.add_marker(pytest.mark.skip(reason="needs root: network namespaces are made here"))


@pytest.fixture
def traces() -> Callable[[], set[str]]:
    return look


def look() -> set[str]:
    """What labs leave on a machine: namespaces, directories, links of the machine's own network."""
    netns = Path("/run/netns")
    found = {f"netns {path.name}" for path in netns.glob("gl*-*")} if netns.exists() else set()
    found |= {f"lab {path.name}" for path in ROOT.glob("*")} if ROOT.exists() else set()
    return found | {f"link {path.name}" for path in Path("/sys/class/net").iterdir()}


@pytest.fixture
def leaves_nothing() -> Iterator[None]:
    """Other people's labs may come and go meanwhile; a lab of ours, or one whose owner is dead, may not stay."""
    before = look()
    yield
    until(lambda: not left(before) or None, 3, f"{sorted(left(before))} to go away")


def left(before: set[str]) -> set[str]:
    return {trace for trace in look() - before if not others(trace)}


def others(trace: str) -> bool:
    """Whether another living process holds the lab that a trace belongs to."""
    lock = ROOT / trace.rsplit(maxsplit=1)[-1].split("-", maxsplit=1)[0] / "lock"
    try:
        inode = str(lock.stat().st_ino)
    except FileNotFoundError:
        return False
    held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(entry[5].endswith(f":{inode}") and int(entry[4]) not in (-1, os.getpid()) for entry in held)
