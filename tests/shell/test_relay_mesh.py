"""The relays of one region: real sockets, two and three of them, plain clients at each."""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import suppress

import pytest
from nacl.public import PrivateKey

from tests.shell.derp_client import LIMIT, PEER_GONE, SEND_PACKET, frame, login
from tests.shell.derp_mesh import (
    CLOSE_PEER,
    FORWARD_PACKET,
    MESH_KEY,
    OTHER_KEY,
    PEER_PRESENT,
    WATCH_CONNS,
    Region,
    as_relay,
    login_with,
    mesh,
    meshed,
    sees,
    until,
)

DISCO = b"TS\xf0\x9f\x92\xac" + bytes(80)


async def test_clients_of_two_relays_reach_each_other(start: Region) -> None:
    a, b = start(), start()
    mesh(a, b)
    await meshed(a, b)
    async with login(a.port, a.key) as alice, login(b.port, b.key) as bob:
        await sees(a, 1)
        await sees(b, 1)
        await alice.send_packet(bob, b"hello")
        assert await bob.packet() == (alice.key, b"hello")
        await bob.send_packet(alice, b"x" * 65536)
        assert await alice.packet() == (bob.key, b"x" * 65536)
    assert a.counters()["mesh.packets_out"] == 1
    assert b.counters()["mesh.packets_in"] == 1


async def test_forwarded_packets_keep_their_order_and_sources(start: Region) -> None:
    a, b = start(), start()
    mesh(a, b)
    await meshed(a, b)
    async with (
        login(a.port, a.key) as alice,
        login(a.port, a.key) as adam,
        login(b.port, b.key) as bob,
        login(b.port, b.key) as beth,
    ):
        await sees(a, 2)
        numbers = range(200)
        for sender in (alice, adam):
            batch = [
                frame(SEND_PACKET, (bob if n % 2 else beth).key + n.to_bytes(2, "big") * (n % 7 + 1)) for n in numbers
            ]
            await sender.send(b"".join(batch))
        for receiver, parity in ((bob, 1), (beth, 0)):
            got = [await receiver.packet() for _ in numbers]
            for sender in (alice, adam):
                wanted = [n.to_bytes(2, "big") * (n % 7 + 1) for n in numbers if n % 2 == parity]
                assert [packet for source, packet in got if source == sender.key] == wanted


async def test_three_relays_know_each_other_s_clients_and_tell_who_leaves_the_region(start: Region) -> None:
    a, b, c = nodes = start(), start(), start()
    mesh(*nodes)
    await meshed(*nodes)
    async with login(b.port, b.key) as bob, login(c.port, c.key) as carol, login(c.port, c.key) as stranger:
        async with login(a.port, a.key) as alice:
            await sees(b, 3)
            await sees(a, 3)
            await sees(c, 2)  # word of who is where and packets come by two connections
            await alice.send_packet(bob, b"to b")
            await alice.send_packet(carol, b"to c")
            await bob.packet()
            await carol.packet()
        assert await bob.expect(PEER_GONE) == alice.key + b"\x00"
        assert await carol.expect(PEER_GONE) == alice.key + b"\x00"
        await stranger.settle()


async def test_who_moves_to_another_relay_of_the_region_is_not_gone(start: Region) -> None:
    a, b = start(), start()
    mesh(a, b)
    await meshed(a, b)
    private = bytes(PrivateKey.generate())
    async with login(a.port, a.key) as bob:
        async with login(a.port, a.key, private=private) as alice:
            await alice.send_packet(bob, b"from a")
            await bob.packet()
            moved = login(b.port, b.key, private=private)
            new = await moved.__aenter__()
            try:
                await sees(a, 1)
                await alice.writer.drain()
                alice.writer.transport.abort()
                await until(lambda: a.native.client_count() == 1)
                await bob.settle()  # no frame came but the pong
                await bob.send_packet(new, b"follows")
                assert await new.packet() == (bob.key, b"follows")
            finally:
                await moved.__aexit__(None, None, None)
        assert await bob.expect(PEER_GONE) == alice.key + b"\x00"


async def test_a_packet_is_never_forwarded_twice(start: Region) -> None:
    a, b = start(), start()
    mesh(a, b)
    await meshed(a, b)
    async with login(b.port, b.key) as bob, as_relay(a) as relay:
        await sees(a, 1)
        await relay.send(frame(FORWARD_PACKET, bytes(32) + bob.key + b"loop") + frame(0x12, bytes(8)))
        await relay.expect(0x13)
        await bob.settle()
    counters = a.counters()
    assert counters["derp.drop.unknown_dest_on_fwd"] == 1
    assert counters["mesh.packets_out"] == 0


async def test_a_relay_that_is_back_is_found_again_and_its_old_clients_are_forgotten(start: Region) -> None:
    a, b = start(), start()
    mesh(a, b)
    await meshed(a, b)
    async with login(a.port, a.key) as alice:
        async with login(b.port, b.key) as bob:
            await sees(a, 1)
            await bob.send_packet(alice, b"seen")
            await alice.packet()
            b.native.close()
            assert await alice.expect(PEER_GONE) == bob.key + b"\x00"
        await until(lambda: a.native.mesh()[0][1:3] == (False, 0) and a.native.mesh()[0][3] != "")
        await alice.send(frame(SEND_PACKET, bob.key + DISCO))
        assert await alice.expect(PEER_GONE) == bob.key + b"\x01"
        again = start(port=b.port, like=b)
        mesh(a, again)
        await meshed(a, again)
        async with login(again.port, again.key) as carol:
            await sees(a, 1)
            await alice.send_packet(carol, b"again")
            assert await carol.packet() == (alice.key, b"again")


async def test_a_relay_with_another_pin_gets_no_mesh_key(start: Region) -> None:
    a, b, impostor = start(), start(), start()
    host, addresses, port, _ = impostor.peer
    impostor.native.set_mesh(MESH_KEY, [])
    a.native.set_mesh(MESH_KEY, [(host, addresses, port, b.peer[3])])
    await until(lambda: "pinned" in a.native.mesh()[0][3])
    assert impostor.counters()["mesh.login"] == 0


# --- who may ----------------------------------------------------------------------------------------------------------

MESH_FRAMES = {"watch": frame(WATCH_CONNS), "close": frame(CLOSE_PEER, bytes(32)),
               "forward": frame(FORWARD_PACKET, bytes(64) + b"x")}  # fmt: skip


@pytest.mark.parametrize("name", MESH_FRAMES)
@pytest.mark.parametrize("key", [None, MESH_KEY], ids=["no mesh", "mesh"])
async def test_a_client_s_mesh_frames_are_refused(start: Region, name: str, key: bytes | None) -> None:
    a = start()
    a.native.set_mesh(key, [])
    async with login(a.port, a.key) as victim, login(a.port, a.key) as mallory:
        await mallory.send(MESH_FRAMES[name].replace(bytes(32), victim.key, 1))
        assert await mallory.ended()
        await victim.settle()
    assert a.counters()["derp.refused_frame"] == 1


@pytest.mark.parametrize("key", [None, OTHER_KEY], ids=["no mesh", "another key"])
async def test_a_wrong_mesh_key_is_no_login(start: Region, key: bytes | None) -> None:
    a = start()
    a.native.set_mesh(key, [])
    with pytest.raises(asyncio.IncompleteReadError):
        async with as_relay(a):
            pass
    assert a.counters()["mesh.wrong_key"] == 1
    assert a.counters()["mesh.login"] == 0


async def test_a_relay_whose_key_is_no_longer_the_region_s_is_cut(start: Region) -> None:
    a = start()
    a.native.set_mesh(MESH_KEY, [])
    async with as_relay(a) as relay:
        await relay.settle()
        a.native.set_mesh(OTHER_KEY, [])
        assert await relay.ended()


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(32), b"\x07" * 32], ids=len)
def test_a_mesh_key_that_is_none_is_refused_without_showing_it(start: Region, key: bytes) -> None:
    a = start()
    with pytest.raises(ValueError, match="expected 32 random bytes of mesh key"):
        a.native.set_mesh(key, [])


async def test_relays_of_the_region_need_no_membership(start: Region) -> None:
    a, b = start(members_only=True), start(members_only=True)
    mesh(a, b)
    await meshed(a, b)
    assert a.native.clients() == []
    assert a.native.client_count() == 0


# --- what a watcher hears ---------------------------------------------------------------------------------------------


async def test_a_watcher_hears_who_is_here_who_comes_and_who_leaves(start: Region) -> None:
    a = start()
    a.native.set_mesh(MESH_KEY, [])
    async with login(a.port, a.key) as alice, as_relay(a) as relay:
        await relay.send(frame(WATCH_CONNS))
        here = await relay.expect(PEER_PRESENT)
        address, source_port = alice.writer.get_extra_info("sockname")
        mapped = ipaddress.ip_address(f"::ffff:{address}").packed + source_port.to_bytes(2, "big")
        assert here == alice.key + mapped + b"\x01"
        async with login_with(a, IsProber=True) as prober:
            assert (body := await relay.expect(PEER_PRESENT))[:32] == prober.key
            assert body[50:] == b"\x04"
        assert await relay.expect(PEER_GONE) == prober.key + b"\x00"


async def test_a_watcher_hears_of_every_one_of_many(start: Region) -> None:
    a = start()
    a.native.set_mesh(MESH_KEY, [])
    async with asyncio.TaskGroup() as group, as_relay(a) as relay:
        leave = asyncio.Event()

        async def stay() -> None:
            async with login(a.port, a.key):
                await leave.wait()

        for _ in range(100):
            group.create_task(stay())
        await until(lambda: a.native.client_count() == 100)
        await relay.send(frame(WATCH_CONNS))
        present = {(await relay.expect(PEER_PRESENT))[:32] for _ in range(100)}
        leave.set()
        gone = {(await relay.expect(PEER_GONE))[:32] for _ in range(100)}
        assert present == gone
        assert len(gone) == 100


async def test_a_relay_may_close_a_client(start: Region) -> None:
    a = start()
    a.native.set_mesh(MESH_KEY, [])
    async with login(a.port, a.key) as alice, login(a.port, a.key) as bob, as_relay(a) as relay:
        await relay.send(frame(CLOSE_PEER, alice.key))
        assert await alice.ended()
        await bob.settle()


async def test_of_two_relays_with_one_key_the_first_is_preferred_until_it_loses_it(start: Region) -> None:
    a, b, c = nodes = start(), start(), start()
    mesh(*nodes)
    await meshed(*nodes)
    private = bytes(PrivateKey.generate())
    async with login(a.port, a.key) as alice, login(b.port, b.key, private=private) as first:
        await until(lambda: sum(row[2] for row in a.native.mesh()) == 1)
        async with login(c.port, c.key, private=private) as second:
            await until(lambda: sum(row[2] for row in a.native.mesh()) == 2)
            await alice.send_packet(first, b"to the first")
            assert await first.packet() == (alice.key, b"to the first")
            first.writer.transport.abort()
            await until(lambda: sum(row[2] for row in a.native.mesh()) == 1)
            await alice.send_packet(first, b"to the second")
            assert await second.packet() == (alice.key, b"to the second")


async def test_a_relay_that_takes_nothing_is_left_and_other_pairs_go_on(start: Region) -> None:
    a = start(limits={"mesh_retry": 60.0, "mesh_write": 0.2})
    b = start()
    b.native.set_mesh(MESH_KEY, [])
    gate = asyncio.Event()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, held: bool) -> None:
        while data := await reader.read(65536):
            if held and a.counters()["mesh.packets_out"]:
                await gate.wait()
            writer.write(data)
            await writer.drain()

    over = asyncio.get_running_loop().create_future()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection("127.0.0.1", b.port)
        pumps = [pass_on(reader, downstream, True), pass_on(upstream, writer, False)]
        await asyncio.gather(*pumps, return_exceptions=True)
        for end in (writer, downstream):
            end.transport.abort()
            with suppress(ConnectionError):
                await end.wait_closed()
        over.set_result(None)

    server = await asyncio.start_server(between, "127.0.0.1", 0)
    host, addresses, _, pin = b.peer
    a.native.set_mesh(MESH_KEY, [(host, addresses, server.sockets[0].getsockname()[1], pin)])
    async with login(b.port, b.key) as bob, login(a.port, a.key) as alice, login(a.port, a.key) as carol:
        await sees(a, 1)
        await until(lambda: a.native.mesh()[0][1])
        flood = frame(SEND_PACKET, bob.key + bytes(60_000)) * 20
        while a.counters()["mesh.write_timeout"] == 0:
            await alice.send(flood)
            await alice.send_packet(carol, b"beside it")
            assert await carol.packet() == (alice.key, b"beside it")
        assert a.counters()["derp.drop.queue_tail"] > 0
        await until(lambda: not a.native.mesh()[0][1])
        await carol.settle()
    b.native.close()
    gate.set()
    await asyncio.wait_for(over, LIMIT)
    server.close()
