"""TCP: every limit, and a client just above it."""

import asyncio
from contextlib import suppress

import dns.message
import pytest

from ginnel.shell.relaydns import tcp
from tests.core.relaydns.relay_names import ZONE, derp_map, relays
from tests.shell.relaydns.dig import PATIENCE, dig, met

QUERY = dns.message.make_query(f"derp1a.{ZONE}", "A", id=4711).to_wire()


def framed(packet):
    return len(packet).to_bytes(2, "big") + packet


async def connect(served, source="127.0.0.1"):
    return await asyncio.open_connection("127.0.0.1", served.ports[0], local_addr=(source, 0))


async def read_answer(reader):
    async with asyncio.timeout(PATIENCE):
        size = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(size)


async def ended(reader):
    """What still came before the end."""
    came = b""
    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionError):
            while piece := await reader.read(65536):
                came += piece
    return came


async def test_queries_sent_at_once_are_answered_in_their_order(start):
    served = await start()
    reader, writer = await connect(served)
    writer.write(b"".join(framed(i.to_bytes(2, "big") + QUERY[2:]) for i in range(100)))
    assert [int.from_bytes((await read_answer(reader))[:2], "big") for _ in range(100)] == list(range(100))
    writer.close()


async def test_a_query_byte_by_byte_is_answered(start):
    served = await start()
    reader, writer = await connect(served)
    for byte in framed(QUERY):
        writer.write(bytes([byte]))
        await writer.drain()
    assert (await read_answer(reader))[:2] == QUERY[:2]
    writer.close()


async def test_a_query_of_4096_bytes_is_read_and_one_of_4097_or_65535_ends_the_connection(start):
    served = await start()
    reader, writer = await connect(served)
    writer.write(framed(QUERY + bytes(tcp.MAX_QUERY - len(QUERY))))
    assert (await read_answer(reader))[3] & 15 == 1
    writer.close()
    for size in (tcp.MAX_QUERY + 1, 65535):
        reader, writer = await connect(served)
        writer.write(size.to_bytes(2, "big") + bytes(100))
        assert await ended(reader) == b""
        writer.close()
    assert served.counters["tcp query too long"] == 2


async def test_a_connection_has_so_many_queries(start):
    served = await start()
    reader, writer = await connect(served)
    writer.write(framed(QUERY) * (tcp.MAX_QUERIES + 1))
    came = await ended(reader)
    assert came.count(QUERY[:2] + b"\x85\x00") == tcp.MAX_QUERIES
    writer.close()


async def test_silence_and_a_trickle_end_the_connection(start):
    served = await start()
    served._door.idle = 0.2
    silent, writer = await connect(served)
    assert await ended(silent) == b""
    writer.close()
    slow, trickle = await connect(served)

    async def drip():
        with suppress(ConnectionError):
            for byte in framed(QUERY):
                trickle.write(bytes([byte]))
                await trickle.drain()
                await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    assert await ended(slow) == b""
    await dripping
    trickle.close()
    assert served.counters["tcp idle"] == 2


async def test_no_connection_lives_for_ever(start):
    served = await start()
    served._door.lifetime = 0.2
    reader, writer = await connect(served)
    asking = True

    async def keep_asking():
        with suppress(ConnectionError):
            while asking:
                writer.write(framed(QUERY[:12] + b"\x00"))
                await writer.drain()
                await asyncio.sleep(0.05)

    busy = asyncio.create_task(keep_asking())
    await ended(reader)
    asking = False
    await busy
    writer.close()
    assert served.counters["tcp lived long enough"] == 1


async def test_one_network_has_sixteen_connections_and_others_are_not_disturbed(start):
    served = await start()
    pairs = [await connect(served) for _ in range(tcp.MAX_PER_PREFIX)]
    for reader, writer in pairs:
        writer.write(framed(QUERY))
        await read_answer(reader)
    reader, writer = await connect(served)
    assert await ended(reader) == b""
    writer.close()
    assert served.counters["tcp refused"] == 1
    reader, other = await connect(served, "127.0.9.1")
    other.write(framed(QUERY))
    assert await read_answer(reader)
    other.close()
    for _, writer in pairs:
        writer.close()


async def test_all_networks_together_have_a_bound_too(start, monkeypatch):
    monkeypatch.setattr(tcp, "MAX_CONNECTIONS", 3)
    served = await start()
    pairs = [await connect(served, f"127.0.{i}.1") for i in range(1, 4)]
    for reader, writer in pairs:
        writer.write(framed(QUERY))
        await read_answer(reader)
    reader, writer = await connect(served, "127.0.9.1")
    assert await ended(reader) == b""
    writer.close()
    for _, writer in pairs:
        writer.close()
    await met(lambda: not served._door.connections)
    assert await dig(served.ports[0], "derp1a", "A", "+tcp") == ["192.0.2.1"]
    assert not served._door._per_prefix


async def test_who_does_not_read_is_not_written_for(world, start):
    served = await start()
    world.change(served, derp_map(relays(1, 900)))
    _, writer = await connect(served)
    large = dns.message.make_query(f"derp1-all.{ZONE}", "AAAA").to_wire()
    writer.transport.pause_reading()
    writer.write(framed(large) * tcp.MAX_QUERIES)  # 5 MB of answers
    await met(lambda: [one for one in served._door.connections if one._full])
    [connection] = served._door.connections
    assert connection._transport.get_write_buffer_size() < 200_000
    assert connection._queries < tcp.MAX_QUERIES
    assert await dig(served.ports[0], "derp1a", "A") == ["192.0.2.1"]
    writer.transport.abort()


async def test_what_is_no_query_ends_the_connection(start):
    served = await start()
    for packet in (b"", b"\x00", bytes([0, 1, 0x80]) + bytes(9)):
        reader, writer = await connect(served)
        writer.write(framed(packet))
        assert await ended(reader) == b""
        writer.close()


@pytest.mark.parametrize(
    "raw", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)]
)
async def test_other_protocols_end_the_connection(start, raw):
    served = await start()
    reader, writer = await connect(served)
    writer.write(raw)
    writer.write_eof()
    assert len(await ended(reader)) < 20
    writer.close()
