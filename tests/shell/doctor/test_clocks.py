"""The time by HTTP's Date."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from ginnel.core.doctor.evidence import Clock, Port80
from ginnel.core.node.actions import AskPort80
from ginnel.shell.doctor import clocks, port80
from ginnel.shell.doctor.clocks import clock_by, server_clocks
from ginnel.shell.doctor.port80 import look_at_port80
from ginnel.shell.node.port80 import ask
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from tests.shell.probe.strangers import page, stranger

DAYS = 3 * 86400.0


def dated(ahead: float) -> str:
    return format_datetime(datetime.fromtimestamp(time.time() - ahead, UTC), usegmt=True)


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 01 Jan 99999 00:00:00 GMT"])
def test_what_is_no_date_is_no_clock(date: str) -> None:
    assert clock_by("relay", date, time.time()) is None


@pytest.mark.parametrize(("answers", "told"), [([None, 5.0], 1), ([5.0], 1), ([None, None, 5.0], 0)])
async def test_the_server_is_asked_twice(
    monkeypatch: pytest.MonkeyPatch, answers: list[float | None], told: int
) -> None:
    left = list(answers)

    async def clock_of(url: str) -> Clock | None:
        ahead = left.pop(0)
        return None if ahead is None else Clock(url, ahead)

    monkeypatch.setattr(clocks, "clock_of", clock_of)
    found = await server_clocks("https://vpn.example.com")
    assert [(clock.source, clock.ahead) for clock in found] == [("https://vpn.example.com", 5.0)] * told


async def test_the_servers_answer_tells_by_how_much_the_clock_is_off() -> None:
    async def health(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(page(f"200 OK\r\nDate: {dated(-DAYS)}", b"ok"))
        await writer.drain()

    async with stranger(health) as at:
        (clock,) = await server_clocks(f"http://127.0.0.1:{at}")
    assert clock.ahead == pytest.approx(-DAYS, abs=30)


@pytest.mark.parametrize(("genuine", "seen"), [(True, Port80.TRUE), (False, Port80.FORGED)])
async def test_a_relays_port_80_tells_the_time_and_a_portals_does_not(
    monkeypatch: pytest.MonkeyPatch, *, genuine: bool, seen: Port80
) -> None:
    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).decode()
        challenge = asked.split("X-Tailscale-Challenge: ")[1].split("\r\n")[0]
        said = f"X-Tailscale-Response: response {challenge}\r\n" if genuine else "X-Tailscale-Response: no\r\n"
        writer.write(f"HTTP/1.1 204 No Content\r\n{said}Date: {dated(DAYS)}\r\n\r\n".encode())
        await writer.drain()

    async with stranger(answers) as at:

        async def ask_there(action: AskPort80, *, mark: int) -> bytes:
            return await ask(action, mark=0, port=at)

        monkeypatch.setattr(port80, "ask", ask_there)
        node = DERPNode(name="1a", region_id=1, host_name="relay.example", ipv4="127.0.0.1", can_port80=True)
        region = DERPRegion(region_id=1, region_code="fra", region_name="Frankfurt", nodes=[node])
        sign, found = await look_at_port80(DERPMap(regions={1: region}))
    assert sign is seen
    assert [(clock.source, round(clock.ahead / DAYS, 2)) for clock in found] == [("relay relay.example", 1.0)] * genuine
