"""Every frame type at every length that matters, from a client and from a relay of the region."""

from __future__ import annotations

import ssl
from contextlib import suppress

import pytest

from tests.shell.derp_client import PONG, SEND_PACKET, Client, frame, login
from tests.shell.derp_mesh import MESH_KEY, Region, as_relay

KEY_SIZE, PACKET = 32, 65536
LENGTHS = {  # type: (the shortest body, the longest)
    0x02: (KEY_SIZE, 4096 + KEY_SIZE + 40),
    0x04: (KEY_SIZE, KEY_SIZE + PACKET),
    0x07: (1, 1),
    0x0A: (2 * KEY_SIZE, 2 * KEY_SIZE + PACKET),
    0x10: (0, 0),
    0x11: (KEY_SIZE, KEY_SIZE),
    0x12: (8, 1000),
    0x13: (8, 1000),
}
"""What a relay takes from others. All other types, those that only relays send included, are read and dropped."""
LOGIN_ONLY, FOR_RELAYS = {0x02}, {0x0A, 0x10, 0x11}
UNKNOWN = 70_000


def sizes(kind: int) -> list[int]:
    """Empty, too short, shortest, longest and over."""
    shortest, longest = LENGTHS.get(kind, (0, UNKNOWN))
    return sorted({0, max(shortest - 1, 0), shortest, longest, longest + 1})


def stays(kind: int, size: int, relay: bool) -> bool:
    if kind not in LENGTHS:
        return True
    shortest, longest = LENGTHS[kind]
    refused = kind in LOGIN_ONLY or (kind in FOR_RELAYS and not relay)
    return shortest <= size <= longest and not refused


async def answers(client: Client) -> bool:
    """The relay has taken what came before, and is still there. A watcher hears of itself or others meanwhile."""
    with suppress(ConnectionError, ssl.SSLError, EOFError):
        await client.send(frame(0x12, b"are you?"))
        while True:
            kind, body = await client.frame()
            if (kind, body) == (PONG, b"are you?"):
                return True
    return False


@pytest.mark.parametrize("relay", [False, True], ids=["client", "relay"])
async def test_every_type_of_every_length_is_taken_dropped_or_ends_its_own_connection(
    start: Region, relay: bool
) -> None:
    a = start()
    a.native.set_mesh(MESH_KEY, [])
    cases = [(kind, size) for kind in range(256) for size in sizes(kind)]
    async with login(a.port, a.key) as witness:
        while cases:
            async with as_relay(a) if relay else login(a.port, a.key) as client:
                while cases:
                    kind, size = cases.pop()
                    await client.send(frame(kind, bytes(size)))
                    outcome = await answers(client)
                    assert outcome == stays(kind, size, relay), f"type 0x{kind:02x}, {size} bytes"
                    if not outcome:
                        break
        await witness.settle()
    counters = a.counters()
    assert counters["derp.bad_stream"] > 0
    assert counters["derp.refused_frame"] == sum(
        LENGTHS[kind][0] <= size <= LENGTHS[kind][1]
        for kind in LOGIN_ONLY | (set() if relay else FOR_RELAYS)
        for size in sizes(kind)
    )


async def test_an_unknown_frame_that_claims_to_be_endless_holds_nothing_up_and_no_memory(start: Region) -> None:
    a = start()
    async with login(a.port, a.key) as witness, login(a.port, a.key) as client:
        await client.send(b"\x77\xff\xff\xff\xff" + bytes(1 << 20))
        await witness.settle()
        assert len(a.native.clients()) == 2
        await client.send(frame(SEND_PACKET, witness.key + b"still inside the frame"))
        await witness.settle()


async def test_a_frame_over_its_length_is_refused_before_its_body_comes(start: Region) -> None:
    a = start()
    for kind, (_, longest) in LENGTHS.items():
        async with login(a.port, a.key) as client:
            await client.send(bytes([kind]) + (longest + 1).to_bytes(4, "big"))
            assert await client.ended()
    assert a.counters()["derp.bad_stream"] == len(LENGTHS)
