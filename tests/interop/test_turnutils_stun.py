"""coturn's STUN client asks our relay, over both families."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.shell.relays import Serve, port, relays


@pytest.fixture(name="serve")
def _serve() -> Iterator[Serve]:
    with relays() as start:
        yield start


@pytest.mark.parametrize(("listen", "server"), [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")])
def test_it_learns_the_address_that_it_asked_from(serve: Serve, listen: str, server: str) -> None:
    relay = serve(stun=[listen])
    command = ["turnutils_stunclient", "-p", str(port(relay, "stun")), "-L", server, server]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    told = [line for line in asked.stdout.splitlines() if "reflexive addr" in line]
    assert told, asked.stdout + asked.stderr
    assert f"UDP reflexive addr: {server}:" in told[0]
    assert relay.counters()["stun.answered"] >= 1
