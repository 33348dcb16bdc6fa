"""A look that fails leaves its evidence unknown, and the others go on; none goes beyond the end."""

from __future__ import annotations

import asyncio
import logging

import pytest

from ginnel.core.doctor.diagnosis import of_host
from ginnel.shell.doctor import gather
from ginnel.shell.doctor.gather import Known, Looks, gather_host
from ginnel.shell.doctor.relays import NetworkSeen


async def test_a_fault_in_one_look_is_logged_and_leaves_it_unknown(caplog: pytest.LogCaptureFixture) -> None:
    async def look() -> str:
        raise RuntimeError("descriptor 7 is in use")

    looks = Looks(5.0)
    with caplog.at_level(logging.ERROR):
        assert await looks.at("port 80", look(), "unknown") == "unknown"
    assert "while it looked at: port 80" in caplog.text
    assert "descriptor 7 is in use" in caplog.text
    assert looks.missed == ["port 80: by a fault of ginnel's own"]


async def test_a_fault_while_the_network_is_looked_at_takes_no_diagnosis_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def look_at_network(*_: object, **__: object) -> NetworkSeen:
        raise ExceptionGroup("unhandled errors in a TaskGroup", [RuntimeError("descriptor 7 is in use")])

    monkeypatch.setattr(gather, "look_at_network", look_at_network)
    with caplog.at_level(logging.ERROR):
        host = await gather_host(Known("alice"), within=5.0)
    assert host.unlooked == ("servers and relays: by a fault of ginnel's own",)
    assert of_host(host).verdict != "healthy"


async def test_a_look_without_an_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_at_network(*_: object, **__: object) -> NetworkSeen:
        await asyncio.Event().wait()
        return NetworkSeen()

    monkeypatch.setattr(gather, "look_at_network", look_at_network)
    monkeypatch.setattr(gather, "GRACE", 0.0)
    host = await gather_host(Known("alice"), within=0.05)
    assert "servers and relays: not within the time" in host.unlooked
