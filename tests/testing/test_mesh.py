from __future__ import annotations

from collections.abc import Callable

import pytest

from ginnel.testing.__main__ import main
from ginnel.testing.mesh import SimMesh
from ginnel.testing.nat import EASY


def test_a_name_is_given_once() -> None:
    mesh = SimMesh(seed=1)
    mesh.node("alice", EASY)
    with pytest.raises(ValueError, match="'alice' already"):
        mesh.node("alice", EASY)


def test_a_kind_of_nat_is_not_a_word() -> None:
    with pytest.raises(TypeError, match="such as EASY, not 'easy'"):
        SimMesh(seed=1).node("alice", "easy")  # type: ignore[arg-type]


@pytest.mark.parametrize("seeds", ["9-0", "x", "1-", "-3", ""])
def test_seeds_that_are_no_range_are_refused(
    seeds: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["testing", f"--seeds={seeds}"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "expected the first and the last seed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "call",
    [
        lambda mesh: mesh.talk("alice", "nobody"),
        lambda mesh: mesh.send("nobody", "alice"),
        lambda mesh: mesh.direct("alice", "nobody"),
        lambda mesh: mesh.restart("nobody"),
    ],
)
def test_a_name_that_nobody_has_is_told_with_those_that_there_are(call: Callable[[SimMesh], object]) -> None:
    mesh = SimMesh(seed=1)
    mesh.node("alice")
    mesh.node("bob")
    with pytest.raises(LookupError, match=r"^there is no node 'nobody'; there are alice, bob$"):
        call(mesh)
