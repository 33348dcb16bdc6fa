"""`ginnel firewall sync --feed` beside a running daemon: a member follows its own server's feed with no key in hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.test_two_nodes import pytestmark
from tests.lab.two_hosts import Host, Mesh, joined_mesh

__all__ = ["pytestmark"]
SETS = ("--set", "inet/mesh/ginnel4,ginnel6", "--create")


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with joined_mesh("alice") as standing:
        yield standing


def followed(host: Host, state: Path, *more: str) -> tuple[int, str]:
    done = host.ginnel("firewall", "sync", *SETS, *more, "--dns", "127.0.0.1:1", "--state", str(state))
    return done.returncode, done.stdout + done.stderr


def test_a_member_needs_no_key_and_an_outsider_does(mesh: Mesh, tmp_path: Path) -> None:
    status, said = followed(mesh.a, tmp_path / "a", "--feed")
    assert status == 0, said
    assert "1 added" in said
    status, said = followed(mesh.server, tmp_path / "b", "--server", mesh.invite(), "--feed")
    assert status == 1
    assert "--feed-key" in said
