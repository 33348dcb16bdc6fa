"""Squid reads the file beside its own configuration, and without a word of complaint."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ginnel.core.firewall.formats.check import CannotExpress
from ginnel.core.firewall.formats.table import FORMATS
from ginnel.core.firewall.needs import Plan
from tests.core.firewall.formats.plans import PINNED, RECOMMENDED
from tests.core.firewall.formats.world import program

SQUID = FORMATS["squid"]
AROUND = """
acl localnet src 192.168.0.0/16
acl SSL_ports port 443
acl Safe_ports port 80
http_access deny CONNECT !SSL_ports
include {file}
http_access deny all
http_port 127.0.0.1:3128
pid_filename none
cache_log /dev/null
coredump_dir {directory}
"""


@pytest.mark.parametrize("plan", [RECOMMENDED, PINNED], ids=["recommended", "pinned"])
def test_it_is_parsed(tmp_path: Path, plan: Plan) -> None:
    done = parse(tmp_path, SQUID.render(plan))
    assert done.returncode == 0
    assert not [line for line in done.stderr.splitlines() if "ERROR" in line or "WARNING" in line or "FATAL" in line]


def test_the_parser_finds_faults(tmp_path: Path) -> None:
    assert parse(tmp_path, "http_access allow nobody_has_said_who\n").returncode != 0


def parse(directory: Path, text: str) -> subprocess.CompletedProcess[str]:
    file, around = directory / "ginnel.conf", directory / "squid.conf"
    file.write_text(text)
    around.write_text(AROUND.format(file=file, directory=directory))
    argv = [program("squid"), "-k", "parse", "-f", str(around)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def test_a_proxy_is_not_asked_to_carry_udp() -> None:
    assert "3478" not in SQUID.render(RECOMMENDED)
    assert "does not carry tunnel, stun" in SQUID.render(RECOMMENDED)
    with pytest.raises(CannotExpress, match="no outbound TCP"):
        SQUID.inbound(RECOMMENDED)
