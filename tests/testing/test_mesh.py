from __future__ import annotations

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
