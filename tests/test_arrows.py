"""Arrows point one way: wire <- core <- shell <- cli. Only shells see Rust; only the cli prints."""

import ast
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
ROOMS = {  # room -> the rooms it may import from
    "words": set(),
    "wire": {"words", "wire"},
    "core": {"words", "wire", "core"},
    "native": set(),
    "shell": {"words", "wire", "core", "native", "shell", ""},
    "lab": {"words", "wire", "core", "shell", "lab", ""},
    "cli": {"words", "wire", "core", "shell", "lab", "cli", ""},
}
NOT_IN_CORES = {"asyncio", "socket", "os", "time", "random", "secrets", "logging", "threading", "subprocess", "pathlib"}


def parse(path: Path) -> ast.Module:
    # CPython 3.11 counts its depth wrongly when a garbage collector's callback runs meanwhile (gh-106905), and
    # hypothesis installs one.
    gc.disable()
    try:
        return ast.parse(path.read_text())
    finally:
        gc.enable()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the arrow"
            yield node.module or ""


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


FILES = sorted((SOURCE / "ginnel").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(".".join(path.relative_to(SOURCE).with_suffix("").parts))
    if room not in ROOMS:
        return
    for module in imports(path):
        if module == "ginnel._native":
            assert room == "native", f"{path}: only native.py opens the door to Rust"
        elif module == "ginnel" or module.startswith("ginnel."):
            assert room_of(module) in ROOMS[room], f"{room} may not import {module}"
        elif room in ("words", "wire", "core"):
            assert module.split(".")[0] not in NOT_IN_CORES, f"{path}: a core is sans-IO, yet imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_only_the_cli_prints(path: Path) -> None:
    if "cli" in path.parts:
        return
    calls = (n.func for n in ast.walk(parse(path)) if isinstance(n, ast.Call))
    assert not [f for f in calls if isinstance(f, ast.Name) and f.id == "print"]
