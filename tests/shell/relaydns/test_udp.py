"""UDP: where answers come from, and what cannot stop it."""

import asyncio
import socket

import dns.message
import pytest

from tests.core.relaydns.relay_names import ZONE

QUERY = dns.message.make_query(f"derp1a.{ZONE}", "A", id=4711).to_wire()
PATIENCE = 20.0


async def ask(address, port, packet=QUERY):
    """A connected socket hears nobody but whom it asked."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (address, port))
        await loop.sock_sendall(client, packet)
        async with asyncio.timeout(PATIENCE):
            return await loop.sock_recv(client, 65535)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.77", "127.255.0.9"])
async def test_the_answer_comes_from_the_address_that_was_asked(start, listen, asked):
    served = await start(listen=(listen,))
    assert (await ask(asked, served.ports[0]))[:2] == QUERY[:2]


async def test_ipv6_is_answered_by_the_same_socket(start):
    served = await start(listen=("[::]:0",))
    assert (await ask("::1", served.ports[0]))[:2] == QUERY[:2]


async def test_datagrams_of_any_size_and_content_do_not_stop_it(start):
    served = await start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for size in (0, 1, 11, 4095, 4096, 4097, 60_000):
            client.sendto(bytes(size), ("127.0.0.1", served.ports[0]))
            client.sendto(QUERY[:12] + b"\xc0" * size, ("127.0.0.1", served.ports[0]))
    assert (await ask("127.0.0.1", served.ports[0]))[3] & 15 == 0


async def test_a_query_that_is_longer_than_any_is_a_format_error(start):
    served = await start()
    answer = await ask(
        "127.0.0.1",
        served.ports[0],
        QUERY[:10] + b"\x00\x01" + QUERY[12:] + b"\x00\x00\x10\x00\x01\x00\x00\x00\x00\x20\x00" + bytes(8192),
    )
    assert answer[3] & 15 == 1


async def test_answers_to_answers_do_not_go_round(start):
    served = await start()
    port = served.ports[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        other.sendto(bytes([0, 1, 0x80, 0]) + bytes(8), ("127.0.0.1", port))
        await ask("127.0.0.1", port)  # behind it in the same queue
        with pytest.raises(BlockingIOError):
            other.recv(100)
    assert served.counters["ignored"] == 1
