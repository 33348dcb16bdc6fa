"""A real daemon on a host whose firewall denies: it says so, and what it says follows `open` and `close`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ginnel.lab.processes import until
from tests.shell.firewall.hosts import Host, host

pytestmark = pytest.mark.root
RULES = "table inet f {\nchain c { type filter hook input priority 0; policy drop; ct state established accept; }\n}\n"
COMMAND = "run `sudo nft add rule inet f c udp dport 41641 accept"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path) as made:
        (tmp_path / "rules").write_text(RULES)
        made.run("nft", "-f", str(tmp_path / "rules"))
        yield made


def test_the_health_line_has_the_command_until_the_port_is_open(here: Host, tmp_path: Path) -> None:
    socket = tmp_path / "d.sock"
    own = ("--state", str(tmp_path / "node"), "--socket", str(socket), "--tun", "gtun0")
    daemon = here.start(sys.executable, "-c", "from ginnel.cli.ginneld import main; main()", *own)
    try:
        until(lambda: socket.exists() or None, 30, "the daemon to listen")

        def status() -> str:
            return here.ginnel("status", "--socket", str(socket), fails=True)  # it is not logged in

        def told(*, blocked: bool) -> None:
            until(lambda: (COMMAND in status()) is blocked or None, 60, f"the line to be there: {blocked}")

        told(blocked=True)
        here.open()
        told(blocked=False)
        here.close()
        told(blocked=True)
    finally:
        daemon.terminate()
        daemon.communicate(timeout=30)
