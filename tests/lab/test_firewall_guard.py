"""`ginnel firewall open` on a member of a real mesh whose firewall, with the change, cuts off its server: the change is
taken back by itself, by each of the firewalls' own programs."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ginnel.lab.processes import until
from tests.lab.test_two_nodes import pytestmark
from tests.lab.two_hosts import Mesh, joined_mesh
from tests.shell.firewall.hosts import Host, program

__all__ = ["pytestmark"]
CUT = """table inet cut {
chain o { type filter hook output priority 5; tcp dport 443 drop; }
chain i { type filter hook input priority 5; tcp sport 443 drop; }
}
"""
TOOLS = ("nft", "iptables", "ip6tables", "ufw")
WRAPPER = """#!/bin/sh
cut=no
case "$*" in
  -c*|--dry-run*) ;;
  *"insert rule"*|*"add rule"*|*" -I "*|"allow "*) cut=yes;;
  *"delete rule"*|*" -D "*|"delete allow"*) {nft} delete table inet cut 2>/dev/null;;
esac
{tool} "$@"; status=$?
[ $cut = yes ] && {nft} -f {rules}
exit $status
"""
PATIENCE = 120.0


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with joined_mesh("alice") as standing:
        yield standing


def wrapped(directory: Path) -> str:
    """PATH=... whose tools cut the server off with the change, and let go with its undoing."""
    made = directory / "bin"
    made.mkdir()
    (made / "cut").write_text(CUT)
    for tool in TOOLS:
        script = made / tool
        script.write_text(WRAPPER.format(tool=shutil.which(tool), nft=shutil.which("nft"), rules=made / "cut"))
        script.chmod(0o755)
    return f"PATH={made}:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.mark.parametrize("kind", ["nftables", "iptables", "ufw"])
def test_a_change_that_cuts_the_server_off_is_taken_back_by_itself(mesh: Mesh, kind: str, tmp_path: Path) -> None:
    here = Host(mesh.a.name, tmp_path)
    here.run("nft", "flush", "ruleset")
    here.deny(kind)
    before = here.run("nft", "-s", "list", "ruleset")
    until(lambda: mesh.a.status()["BackendState"] == "Running" or None, PATIENCE, "alice to be on the mesh")
    own = ("--state", str(here.state), "--socket", mesh.a.socket)
    said = here.run("env", wrapped(tmp_path), *program(), "firewall", "open", *own)
    assert "if this machine loses its coordination server within 60 s, the rule is taken back by itself" in said
    (record,) = here.state.glob("*.json")
    until(lambda: json.loads(record.read_text())["rolled_back"] or None, PATIENCE, "the guard to take it back")
    assert here.run("nft", "-s", "list", "ruleset") == before
    closed = here.ginnel("firewall", "close", "--state", str(here.state))
    assert closed == "was taken back before: the connection to the coordination server was lost after the change\n"
