"""Every format's whole output, as it was looked at once. GINNEL_NEW_GOLDEN=1 writes the files anew: read the diff."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ginnel.core.firewall.formats.check import CannotExpress
from ginnel.core.firewall.formats.table import FORMATS
from ginnel.core.firewall.needs import Plan
from tests.core.firewall.formats.plans import ANY_PORT, ONLY_IPV4, PINNED, RECOMMENDED

GOLDEN = Path(__file__).parents[1] / "golden"
PLANS = {"recommended": RECOMMENDED, "pinned": PINNED, "any-port": ANY_PORT, "only-ipv4": ONLY_IPV4}


def written(name: str, kind: str, plan: Plan) -> bytes:
    """Refusals are part of the picture."""
    form = FORMATS[name]
    try:
        return (form.inbound(plan) if kind == "inbound" else form.render(plan)).encode("ascii")
    except CannotExpress as error:
        assert "\n" not in str(error)
        return f"refused: {error}\n".encode("ascii")


@pytest.mark.parametrize("kind", [*PLANS, "inbound"])
@pytest.mark.parametrize("name", FORMATS)
def test_the_output_is_what_was_looked_at(name: str, kind: str) -> None:
    got = written(name, kind, PLANS.get(kind, RECOMMENDED))
    file = GOLDEN / kind / f"{name}.txt"
    if os.environ.get("GINNEL_NEW_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(got)
    assert got == file.read_bytes()


def test_there_is_no_golden_file_of_a_format_that_is_gone() -> None:
    assert {path.stem for path in GOLDEN.glob("*/*")} == set(FORMATS)
