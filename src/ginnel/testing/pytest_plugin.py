"""The fixture `sim_mesh` for tests of applications: a mesh in the test's own process (docs/testing.md).

Room: testing. pytest loads this file by the entry point `ginnel`; the simulator only when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ginnel.testing.mesh import SimMesh

LINES = 200
MADE: pytest.StashKey[list[SimMesh]] = pytest.StashKey()


@pytest.fixture
def sim_mesh(request: pytest.FixtureRequest) -> Callable[..., SimMesh]:
    """Call it with a seed and the options of `SimMesh`; the last packets of each mesh are shown when the test fails."""
    from ginnel.testing.mesh import SimMesh  # noqa: PLC0415 - most test runs never need it

    made: list[SimMesh] = []
    request.node.stash[MADE] = made

    def make(seed: int = 1, **options: Any) -> SimMesh:
        mesh = SimMesh(seed, **{"trace": True, **options})
        mesh.watch.note(f"# seed {seed}, {options}")
        made.append(mesh)
        return mesh

    return make


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    if call.when == "call" and call.excinfo is not None:
        for mesh in item.stash.get(MADE, []):
            lines = (mesh.watch.trace or [])[-LINES:]
            item.add_report_section("call", f"mesh of seed {mesh.seed}", "\n".join(lines))
