import asyncio
import socket
import threading
from ipaddress import ip_address

import pytest

from ginnel.core.firewall.evidence import Ending
from ginnel.shell.probe import names
from ginnel.shell.probe.names import NameLooker


async def test_a_resolver_that_hangs_is_silence_and_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(names, "_system", lambda _: over.wait(20) and ())
    async with asyncio.timeout(10):
        seen = await NameLooker(patience=0.05).look("relay.example")
    over.set()
    assert (seen.evidence.ending, seen.addresses) == (Ending.SILENCE, ())


async def test_what_is_waited_for_is_the_answer_and_not_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more names than threads the last ones come late, and are no failures of DNS."""
    turns = threading.Semaphore(0)
    monkeypatch.setattr(names, "AT_ONCE", 1)
    monkeypatch.setattr(names, "_system", lambda host: turns.acquire(timeout=20) and (ip_address("192.0.2.1"),))
    looker = NameLooker(patience=5.0)
    first, second = (asyncio.create_task(looker.look(name)) for name in ("a.example", "b.example"))
    turns.release()
    assert (await first).evidence.done
    turns.release()
    assert (await second).evidence.done


async def test_no_name_is_told_in_the_systems_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: str) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(names, "_system", none)
    seen = await NameLooker().look("relay.example")
    assert (seen.evidence.ending, seen.evidence.error) == (Ending.NO_NAME, "name or service not known")


async def test_a_name_that_no_name_can_be_is_no_name() -> None:
    assert (await NameLooker().look("a" * 64 + ".example")).evidence.ending is Ending.NO_NAME
