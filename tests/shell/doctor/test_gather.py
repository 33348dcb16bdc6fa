"""A look that fails leaves its evidence unknown, and the others go on."""

from __future__ import annotations

import logging

import pytest

from ginnel.core.doctor.evidence import Clock
from ginnel.shell.doctor import gather, machine
from ginnel.shell.doctor.gather import Known


async def test_a_fault_in_one_look_is_logged_and_leaves_it_unknown(caplog: pytest.LogCaptureFixture) -> None:
    async def look() -> str:
        raise RuntimeError("descriptor 7 is in use")

    with caplog.at_level(logging.ERROR):
        assert await gather._within(look(), "unknown", "port 80") == "unknown"
    assert "while it looked at: port 80" in caplog.text
    assert "descriptor 7 is in use" in caplog.text


@pytest.mark.parametrize(("answers", "told"), [([None, 5.0], 1), ([5.0], 1), ([None, None, 5.0], 0)])
async def test_the_clock_is_asked_for_twice(
    monkeypatch: pytest.MonkeyPatch, answers: list[float | None], told: int
) -> None:
    left = list(answers)

    async def clock_of(url: str, *, mark: int) -> Clock | None:
        ahead = left.pop(0)
        return None if ahead is None else Clock(url, ahead)

    monkeypatch.setattr(machine, "clock_of", clock_of)
    found = await gather._clocks(Known("alice", control_url="https://vpn.example.com/"))
    assert [(clock.source, clock.ahead) for clock in found] == [("https://vpn.example.com/health", 5.0)] * told
