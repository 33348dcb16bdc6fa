"""The stub resolver, with servers on loopback that answer as they like."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import cast

import pytest

from ginnel.core.firewall.hosts import Trust
from ginnel.core.firewall.sync_words import Question
from ginnel.shell.firewall.sync_dns import PORT, Address, DnsError, Resolvers, configured, parse_servers, query_of
from ginnel.wire.dns import IN, QR, TC, A, header, name_of, question_bytes, read_query, record_bytes

HERE = Question("derp1a.example.com", 4)
Answers = Callable[[bytes], list[bytes]]


def good(query: bytes, flags: int = QR) -> bytes:
    read = read_query(query)
    record = record_bytes(b"\xc0\x0c", A, IN, 60, bytes((203, 0, 113, 5)))
    return header(read.id, flags, 1, (1, 0, 0)) + question_bytes(read.name, read.type) + record


class Server(asyncio.DatagramProtocol):
    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.asked += 1
        for answer in self.answers(data):
            self.transport.sendto(answer, addr)


@asynccontextmanager
async def served(answers: Answers, by_tcp: Answers | None = None) -> AsyncIterator[tuple[Resolvers, Server]]:
    async def tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        for answer in (by_tcp or answers)(query):
            writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()

    listener = await asyncio.start_server(tcp, "127.0.0.1", 0)
    at: Address = listener.sockets[0].getsockname()
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: Server(answers), local_addr=at)
    try:
        yield Resolvers(Trust, (at,), patience=0.5), server
    finally:
        transport.close()
        listener.close()
        await listener.wait_closed()


async def test_an_answer_comes_with_its_ttl() -> None:
    async with served(lambda query: [good(query)]) as (resolvers, _):
        answer = await resolvers.ask(HERE)
    assert answer.addresses == {ip_address("203.0.113.5")}
    assert answer.ttl == 60.0


async def test_what_answers_another_query_is_passed_over() -> None:
    async with served(lambda query: [bytes((query[0] ^ 1,)) + good(query)[1:], b"x", good(query)]) as (resolvers, _):
        assert (await resolvers.ask(HERE)).addresses


async def test_an_answer_that_is_cut_is_asked_for_by_tcp() -> None:
    async with served(lambda query: [good(query, QR | TC)], lambda query: [good(query)]) as (resolvers, _):
        assert (await resolvers.ask(HERE)).addresses


async def test_servfail_is_an_error_after_a_second_try() -> None:
    async with served(lambda query: [good(query, QR | 2)]) as (resolvers, server):
        with pytest.raises(DnsError, match="SERVFAIL"):
            await resolvers.ask(HERE)
    assert server.asked == 2


async def test_silence_is_an_error() -> None:
    async with served(lambda query: []) as (resolvers, _):
        with pytest.raises(DnsError, match="does not answer"):
            await resolvers.ask(HERE)


async def test_the_next_server_is_asked_where_nobody_listens() -> None:
    async with served(lambda query: [good(query)]) as (resolvers, server):
        async with served(lambda query: []) as (gone, _):
            dead = gone.servers
        both = Resolvers(Trust, (*dead, *resolvers.servers), patience=2.0)
        assert (await both.ask(HERE)).addresses
    assert server.asked == 1


async def test_a_tcp_answer_that_is_cut_is_an_error() -> None:
    async with served(lambda query: [good(query, QR | TC)], lambda query: []) as (resolvers, _):
        with pytest.raises(DnsError, match="cut"):
            await resolvers.ask(HERE)


def test_a_query_asks_for_recursion() -> None:
    read = read_query(query_of(HERE, 4711))
    assert (read.id, read.name, read.type) == (4711, name_of(HERE.name), A)
    assert read.flags & 0x0100
    assert read.udp_size == 1232


def test_resolvers_of_the_system(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    assert configured(conf) == (("127.0.0.1", PORT),)
    conf.write_text("# x\nnameserver 192.0.2.1\nsearch a\nnameserver 2001:db8::1\nnameserver\noptions edns0\n")
    assert configured(conf) == (("192.0.2.1", PORT), ("2001:db8::1", PORT))


def test_servers_by_hand() -> None:
    found = parse_servers(["9.9.9.9", "127.0.0.1:5353", "[::1]:54", "2001:db8::1"])
    assert found == (("9.9.9.9", 53), ("127.0.0.1", 5353), ("::1", 54), ("2001:db8::1", 53))
    for bad in ("dns.example.com", "1.2.3.4:0", "1.2.3.4:x", "[::1]:99999"):
        with pytest.raises(ValueError, match=r"address|port"):
            parse_servers([bad])
