"""What tests of the lab share. Those that build namespaces need root, and say so aloud where there is none."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ginnel.lab.kinds import kind_named
from ginnel.lab.registry import ROOT
from ginnel.lab.topology import CORE, Host, Topology

IS_ROOT = os.geteuid() == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "root" in item.keywords and not IS_ROOT:
            item.add_marker(pytest.mark.skip(reason="needs root: network namespaces are made here"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not IS_ROOT:
        terminalreporter.write_line(
            "NOT ROOT: no test of the lab that builds networks was run. Repeat with sudo.", red=True
        )


def topology(*kinds: str) -> Topology:
    """A server and hosts a, b, c... behind these kinds."""
    sites = [kind_named(kind).build(name) for kind, name in zip(kinds, "abcdefgh", strict=False)]
    routers = tuple(router for site in sites for router in site.routers)
    return Topology(routers, (Host("server", on=CORE), *(site.host for site in sites)))


def traces() -> set[str]:
    """What labs leave on a machine: namespaces, directories, links of the machine's own network."""
    netns = Path("/run/netns")
    found = {f"netns {path.name}" for path in netns.glob("gl*-*")} if netns.exists() else set()
    found |= {f"lab {path.name}" for path in ROOT.glob("*")} if ROOT.exists() else set()
    return found | {f"link {path.name}" for path in Path("/sys/class/net").iterdir()}


@pytest.fixture
def leaves_nothing() -> Iterator[None]:
    before = traces()
    yield
    assert traces() == before
