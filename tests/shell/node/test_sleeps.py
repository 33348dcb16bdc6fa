from __future__ import annotations

import asyncio

import pytest

from ginnel.shell.node import sleeps


@pytest.mark.parametrize("kernel", [True, False])
async def test_a_sleep_of_the_machine_is_noticed(monkeypatch: pytest.MonkeyPatch, kernel: bool) -> None:
    """With the kernel's timer, and without it."""
    slept = iter([0.0, 0.1, 0.2, 100.0, 100.0])
    monkeypatch.setattr(sleeps, "LOOK_FOR_SLEEP", 0.001)
    monkeypatch.setattr(sleeps, "asleep", lambda: next(slept))
    if not kernel:
        monkeypatch.setattr(sleeps, "boot_timer", no_timer)
    noticing = sleeps.sleeps()
    async with asyncio.timeout(20):
        assert await anext(noticing) == pytest.approx(99.8)
    await noticing.aclose()


def no_timer(_: float) -> int:
    raise OSError(22, "Invalid argument")


def test_this_machine_has_not_slept_less_than_nothing() -> None:
    assert sleeps.asleep() > -1e-3
