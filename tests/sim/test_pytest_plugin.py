"""The examples of docs/testing.md are tests that pass, by the fixture that an application's tests get."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs" / "testing.md"
PLUGIN = "ginnel.testing.pytest_plugin"


def run_pytest(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_example.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-p", "no:ginnel", "-p", PLUGIN, "-p", "no:cacheprovider"]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_examples_of_the_documentation_pass(tmp_path: Path) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    run = run_pytest(tmp_path, source)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "3 passed" in run.stdout


def test_a_failure_shows_the_last_packets_and_the_seed(tmp_path: Path) -> None:
    source = "def test_it(sim_mesh):\n    sim_mesh(seed=9).node('alice')\n    assert False\n"
    run = run_pytest(tmp_path, source)
    assert run.returncode == 1
    assert "mesh of seed 9" in run.stdout


def test_pytest_finds_the_fixture_by_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"ginnel": PLUGIN}
