"""Fixtures of the shells' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.shell.derp_mesh import Region, region
from tests.shell.relays import Serve, relays


@pytest.fixture(name="serve")
def _serve() -> Iterator[Serve]:
    with relays() as serve:
        yield serve


@pytest.fixture(name="start")
def _start() -> Iterator[Region]:
    with region() as start:
        yield start
