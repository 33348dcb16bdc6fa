import asyncio
import socket
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress

import pytest

from ginnel.core.firewall.evidence import Ending
from ginnel.core.firewall.verdict import Blocking, classify
from ginnel.shell.probe.stun import StunSeen, look_at_stun
from tests.shell.relays import Serve, port

OTHERS_ANSWER = bytes.fromhex("0101 000c 2112a442") + b"another ask." + bytes.fromhex("0020 0008 0001 a147 e112a643")
TIMES = (0.1, 0.1)
Answers = Callable[[bytes], list[bytes]]


@asynccontextmanager
async def answering(answers: Answers):
    class Protocol(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
            self.transport = transport

        def datagram_received(self, data: bytes, source: tuple) -> None:
            for answer in answers(data):
                self.transport.sendto(answer, source)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


async def looked(at: int) -> StunSeen:
    return await look_at_stun("127.0.0.1", at, mark=0, times=TIMES)


async def test_a_relay_answers_with_our_address(serve: Serve) -> None:
    seen = await look_at_stun("127.0.0.1", port(serve(), "stun"), mark=0)
    assert seen.evidence.done
    assert seen.mapped is not None
    assert str(seen.mapped.ip) == "127.0.0.1"


async def test_several_sockets_share_the_source_port(serve: Serve) -> None:
    servers = [port(serve(), "stun") for _ in range(3)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        own = free.getsockname()[1]
    found = await asyncio.gather(*(look_at_stun("127.0.0.1", at, mark=0, source_port=own) for at in servers))
    assert [seen.mapped.port if seen.mapped else 0 for seen in found] == [own] * 3


async def test_a_port_that_somebody_else_has_is_told_as_taken() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        seen = await look_at_stun("127.0.0.1", 9, mark=0, source_port=taken.getsockname()[1])
    assert (seen.evidence.ending, seen.evidence.error) == (Ending.FAULT, "address already in use")


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (lambda _: [], Blocking.SILENT_DROP),
        (lambda _: [b"HTTP/1.1 400 Bad Request\r\n\r\n"], Blocking.PROTOCOL),
        (lambda _: [OTHERS_ANSWER], Blocking.PROTOCOL),
        (lambda _: [b"x" * 1000] * 400, Blocking.PROTOCOL),
    ],
    ids=["nothing", "text", "another transaction", "a flood"],
)
async def test_what_comes_instead_of_an_answer_is_told_apart(answers: Answers, kind: Blocking) -> None:
    async with answering(answers) as at:
        seen = await looked(at)
    assert classify(seen.evidence).blocking is kind
    assert len(seen.evidence.received) <= 256
    assert seen.evidence.count <= 40_000


async def test_nobody_there_is_a_refusal() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        at = unused.getsockname()[1]
    assert classify((await looked(at)).evidence).blocking is Blocking.REFUSED


async def test_the_second_request_is_answered_where_the_first_was_lost(serve: Serve) -> None:
    lost: list[bytes] = []
    behind = port(serve(), "stun")

    def second(data: bytes) -> list[bytes]:
        lost.append(data)
        if len(lost) < 2:
            return []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking, suppress(TimeoutError):
            asking.settimeout(5)
            asking.sendto(data, ("127.0.0.1", behind))
            return [asking.recv(2048)]
        return []

    async with answering(second) as at:
        assert (await looked(at)).evidence.done
