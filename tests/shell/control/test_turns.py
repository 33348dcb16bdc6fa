"""Changes one at a time, each to its end."""

import asyncio
import gc

import pytest

from ginnel.shell.control.turns import Turns
from tests.shell.control.control_client import until


async def test_what_was_begun_is_ended_though_its_caller_leaves() -> None:
    turns, gate, ended = Turns(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await gate.wait()
        ended.set()

    caller = asyncio.create_task(turns.take(work()))
    await until(turns.taken)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gate.set()
    await turns.drain()
    assert ended.is_set()


async def test_turns_do_not_overlap_and_a_failed_one_lets_the_next_come() -> None:
    turns, inside = Turns(), []

    async def work(number: int) -> int:
        inside.append(number)
        await asyncio.sleep(0)
        assert inside == [number]
        inside.clear()
        if number == 1:
            raise ValueError
        return number

    results = await asyncio.gather(*(turns.take(work(number)) for number in range(4)), return_exceptions=True)
    assert [type(result) for result in results] == [int, ValueError, int, int]


def test_a_turn_that_never_came_leaves_nothing_unawaited_when_the_loop_ends() -> None:
    turns = Turns()

    async def work() -> None:
        await asyncio.Event().wait()

    async def server() -> None:
        callers = [asyncio.create_task(turns.take(work())) for _ in range(3)]
        await until(turns.taken)
        for caller in callers:
            caller.cancel()

    asyncio.run(server())
    gc.collect()  # a coroutine that was never awaited warns here, and warnings are errors
