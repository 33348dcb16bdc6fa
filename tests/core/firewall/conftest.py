"""What tests of the firewall's formats share. Those that load rules into a kernel need root."""

import os
from collections.abc import Iterator

import pytest

from tests.core.firewall.formats.world import World, world

IS_ROOT = os.geteuid() == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "root" in item.keywords and not IS_ROOT:
            item.add_marker(pytest.mark.skip(reason="needs root: network namespaces are made here"))


@pytest.fixture
def two_hosts() -> Iterator[World]:
    with world() as made:
        yield made
