"""How logins begin and end at the relay: order on the wire, several with one key, the relay's own end."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from nacl.public import PrivateKey

from tests.shell.derp_client import (
    LIMIT,
    PEER_GONE,
    SEND_PACKET,
    UPGRADE,
    client_info,
    connect,
    frame,
    login,
    tls_context,
)
from tests.shell.relays import KEY, Serve, port


async def test_no_packet_comes_before_the_answer_to_the_login(serve: Serve) -> None:
    """`login` refuses every frame before ServerInfo."""
    at = port(serve())
    private = bytes(PrivateKey.generate())
    flood = frame(SEND_PACKET, bytes(PrivateKey(private).public_key) + b"!") * 4000
    async with login(at, KEY) as alice:

        async def sending() -> None:
            while True:
                await alice.send(flood)

        task = asyncio.create_task(sending())
        for _ in range(100):
            async with login(at, KEY, private=private):
                pass
        task.cancel()


async def test_a_login_may_come_in_any_two_pieces(serve: Serve) -> None:
    at = port(serve(threads=1))
    async with login(at, KEY) as bob:
        for by_byte in range(0, 330, 3):
            private = bytes(PrivateKey.generate())
            start = UPGRADE + b"Derp-Fast-Start: 1\r\n\r\n" + client_info(private, KEY)
            start += frame(SEND_PACKET, bob.key + by_byte.to_bytes(2, "big"))
            async with connect(at, tls=tls_context()) as raw:
                await raw.send(start[:by_byte])
                await asyncio.sleep(0)
                await raw.send(start[by_byte:])
                assert (await bob.packet())[1] == by_byte.to_bytes(2, "big")
            await bob.expect(PEER_GONE)


async def test_a_login_may_come_byte_by_byte(serve: Serve) -> None:
    at = port(serve())
    private = bytes(PrivateKey.generate())
    async with login(at, KEY) as bob, connect(at, tls=tls_context()) as raw:
        start = UPGRADE + b"Derp-Fast-Start: 1\r\n\r\n" + client_info(private, KEY) + frame(SEND_PACKET, bob.key + b"!")
        for number in range(len(start)):
            await raw.send(start[number : number + 1])
        assert await bob.packet() == (bytes(PrivateKey(private).public_key), b"!")


async def test_before_the_login_there_is_no_room_for_packets(serve: Serve) -> None:
    relay = serve(handshake_timeout=60.0)
    async with connect(port(relay), tls=tls_context()) as raw:
        await raw.send(UPGRADE + b"Derp-Fast-Start: 1\r\n\r\n" + frame(SEND_PACKET, bytes(60_000))[:5])
        assert await raw.ended()
    assert relay.counters()["derp.login_failed"] == 1


async def test_peers_of_an_older_connection_learn_when_the_key_s_last_one_leaves(serve: Serve) -> None:
    relay = serve()
    at = port(relay)
    private = bytes(PrivateKey.generate())
    async with login(at, KEY) as bob:
        async with login(at, KEY, private=private) as old:
            await old.send_packet(bob, b"hello")
            await bob.packet()
            async with login(at, KEY, private=private) as new:
                old.writer.transport.abort()
                async with asyncio.timeout(LIMIT):
                    while len(relay.clients()) > 2:
                        await new.settle()
                await bob.settle()  # nobody is gone yet
        assert await bob.expect(PEER_GONE) == old.key + b"\x00"


async def test_close_ends_every_connection_and_thread_and_frees_the_ports(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "behind"

    async def behind(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_unix_server(behind, path):
        relay = serve(splice=str(path))
        at = relay.addresses()
        async with (
            login(port(relay), KEY) as alice,
            connect(port(relay), tls=tls_context()) as half_open,
            connect(port(relay), tls=tls_context()) as spliced,
        ):
            await spliced.send(b"GET /elsewhere HTTP/1.1\r\n\r\n")
            await alice.settle()
            await asyncio.to_thread(relay.close)
            for each in (alice, half_open, spliced):
                assert await each.ended()
            assert relay.clients() == []
    assert not _threads()
    for kind, number in (("tls", socket.SOCK_STREAM), ("http", socket.SOCK_STREAM), ("stun", socket.SOCK_DGRAM)):
        with socket.socket(socket.AF_INET, number) as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(at[kind][0])


def _threads() -> list[str]:
    names = (task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir())
    return [name for name in names if name.startswith("relay-")]
