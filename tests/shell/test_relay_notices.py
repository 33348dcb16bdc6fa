"""What a relay tells its clients of itself, how it drains, and what it counts: real sockets, plain clients."""

from __future__ import annotations

import asyncio

import pytest
from nacl.public import PrivateKey

from tests.shell.derp_client import LIMIT, NOTE_PREFERRED, SEND_PACKET, Client, frame, login
from tests.shell.derp_mesh import HEALTH, MESH_KEY, RESTARTING, Region, as_relay, until

DISCO = b"TS\xf0\x9f\x92\xac" + bytes(80)


# --- health and drain -------------------------------------------------------------------------------------------------


async def test_a_problem_is_told_to_all_and_to_who_comes_later_until_it_is_over(start: Region) -> None:
    a = start()
    async with login(a.port, a.key) as alice:
        a.native.set_health("the disk is full")
        assert await alice.expect(HEALTH) == b"the disk is full"
        async with login(a.port, a.key) as bob:
            assert await bob.expect(HEALTH) == b"the disk is full"
            a.native.set_health("")
            assert [await client.expect(HEALTH) for client in (alice, bob)] == [b"", b""]
        async with login(a.port, a.key) as carol:
            await carol.settle()  # no frame came but the pong


async def test_a_problem_s_text_is_cut_between_characters(start: Region) -> None:
    a = start()
    async with login(a.port, a.key) as alice:
        a.native.set_health("\N{KEY}" * 1000)
        assert (await alice.expect(HEALTH)).decode() == "\N{KEY}" * 256


async def test_a_draining_relay_says_so_keeps_who_is_there_and_takes_nobody_but_relays(start: Region) -> None:
    a = start()
    a.native.set_mesh(MESH_KEY, [])
    async with login(a.port, a.key) as alice, login(a.port, a.key) as bob:
        a.native.drain(1.5, 30.0)
        told = (1500).to_bytes(4, "big") + (30_000).to_bytes(4, "big")
        assert [await client.expect(RESTARTING) for client in (alice, bob)] == [told, told]
        with pytest.raises(asyncio.IncompleteReadError):
            async with login(a.port, a.key):
                pass
        async with as_relay(a) as relay:
            await relay.settle()
            await alice.send_packet(bob, b"as before")
            assert await bob.packet() == (alice.key, b"as before")
            assert a.native.client_count() == 2
            a.native.close_clients()
            assert await alice.ended()
            assert await bob.ended()
            await until(lambda: a.native.client_count() == 0)
            await relay.settle()
        a.native.undrain()
        async with login(a.port, a.key) as carol:
            await carol.settle()
    assert a.counters()["derp.login_draining"] == 1


async def test_clients_can_be_closed_a_few_at_a_time(start: Region) -> None:
    a = start()
    async with login(a.port, a.key) as alice, login(a.port, a.key) as bob:
        clock = asyncio.get_running_loop()
        begun = clock.time()
        a.native.close_clients(0.1)
        ended = [asyncio.create_task(client.ended()) for client in (alice, bob)]
        await asyncio.gather(*ended)
        assert clock.time() - begun > 0.04


@pytest.mark.parametrize("wrong", [-1.0, 1e9, float("nan")])
def test_times_that_no_frame_can_hold_are_refused(start: Region, wrong: float) -> None:
    a = start()
    with pytest.raises(ValueError, match="not a time to wait"):
        a.native.drain(wrong, 1.0)
    assert a.native.client_count() == 0


# --- two with one key -------------------------------------------------------------------------------------------------


async def fight(first: Client, second: Client, turns: int) -> None:
    for turn in range(turns):
        await (first, second)[turn % 2].settle()


async def test_two_that_keep_taking_the_packets_from_each_other_are_parked_until_one_leaves(start: Region) -> None:
    a = start()
    private = bytes(PrivateKey.generate())
    async with login(a.port, a.key) as alice, login(a.port, a.key, private=private) as original:
        async with login(a.port, a.key, private=private) as copy:
            await fight(original, copy, 7)
            await copy.send(b"")
            await alice.send_packet(original, b"still to the last to speak")
            assert (await original.packet())[1] == b"still to the last to speak"
            await copy.send(frame(0x13, bytes(8)))
            assert b"another machine" in await original.expect(HEALTH)
            assert b"another machine" in await copy.expect(HEALTH)
            await alice.send_packet(original, b"to nobody")
            await alice.send(frame(SEND_PACKET, original.key + DISCO))
            await alice.settle()  # no frame came but the pong: the key is here
            counters = a.counters()
            dropped = [counters[f"derp.drop.dup_client{kind}"] for kind in ("", "_disco")]
            assert (counters["derp.fighting"], dropped) == (1, [1, 1])
            await original.settle()
            await copy.settle()
        assert await original.expect(HEALTH) == b""
        await alice.send_packet(original, b"alone again")
        assert (await original.packet())[1] == b"alone again"


async def test_fighters_are_left_to_fight_where_that_is_asked_for(start: Region) -> None:
    a = start(limits={"park_fighters": 0})
    private = bytes(PrivateKey.generate())
    async with (
        login(a.port, a.key) as alice,
        login(a.port, a.key, private=private) as first,
        login(a.port, a.key, private=private) as second,
    ):
        await fight(first, second, 40)
        await alice.send_packet(second, b"to the last")
        assert (await second.packet())[1] == b"to the last"
    assert a.counters()["derp.fighting"] == 0


# --- rates and counters -----------------------------------------------------------------------------------------------


async def send_all(sender: Client, receiver: Client, count: int) -> float:
    """Seconds until all have arrived."""
    clock = asyncio.get_running_loop()
    begun = clock.time()
    sending = asyncio.create_task(sender.send(frame(SEND_PACKET, receiver.key + bytes(1000)) * count))
    for _ in range(count):
        await receiver.packet()
    await sending
    return clock.time() - begun


async def test_rates_change_while_clients_are_there(start: Region) -> None:
    a = start()
    async with login(a.port, a.key) as alice, login(a.port, a.key) as bob:
        assert await send_all(alice, bob, 500) < LIMIT
        a.native.set_rates((1_000_000, 66_000), None)
        assert await send_all(alice, bob, 500) > 0.3  # half a MB, less the burst and one read, at 1 MB/s
        a.native.set_rates(None, None)
        a.native.set_rates(None, (1_000_000, 66_000))
        together = [send_all(alice, bob, 250), send_all(bob, alice, 250)]
        clock = asyncio.get_running_loop()
        begun = clock.time()
        await asyncio.gather(*together)
        assert clock.time() - begun > 0.25
    with pytest.raises(ValueError, match="at least 1 byte"):
        a.native.set_rates((0, 0), None)


async def test_relays_of_the_region_are_exempt_from_rates(start: Region) -> None:
    a = start(limits={"receive_rate": 1, "receive_burst": 1, "total_rate": 1, "total_burst": 1})
    a.native.set_mesh(MESH_KEY, [])
    async with as_relay(a) as relay:
        for _ in range(5):
            await relay.settle()


async def test_homes_and_packets_are_counted_by_kind(start: Region) -> None:
    a = start()
    async with login(a.port, a.key) as alice:
        for home in (b"\x01", b"\x01", b"\x00", b"\x01"):
            await alice.send(frame(NOTE_PREFERRED, home))
        await alice.send(frame(SEND_PACKET, bytes(32) + b"data") + frame(SEND_PACKET, bytes(32) + DISCO))
        await alice.send(frame(SEND_PACKET, bytes(32) + b"more"))
        await alice.expect(8)
        await alice.settle()
        counters = a.counters()
        assert counters["derp.now.homes"] == 1
        assert counters["derp.now.clients"] == 1
        assert (counters["derp.home_moves_in"], counters["derp.home_moves_out"]) == (2, 1)
        assert (counters["derp.packets_in"], counters["derp.packets_in_disco"]) == (3, 1)
        assert (counters["derp.drop.unknown_dest"], counters["derp.drop.unknown_dest_disco"]) == (2, 1)
        assert counters["derp.peer_gone_not_here"] == 1
    await until(lambda: a.counters()["derp.now.clients"] == 0)
    assert a.counters()["derp.now.homes"] == 0
