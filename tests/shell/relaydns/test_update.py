"""The relays' names in Debian's knot: by dynamic update, and as a secondary of ours."""

import asyncio
import socket
import time
from contextlib import suppress
from functools import partial

import pytest

from ginnel.core.relaydns.update import UpdateFailed
from ginnel.core.relaydns.zone import zone_of
from ginnel.shell.relaydns import update
from ginnel.shell.relaydns.config import UpdateTarget
from ginnel.shell.relaydns.keyfile import read_key_file
from ginnel.shell.relaydns.update import Updater
from ginnel.wire.dns import UPDATE, name_of
from ginnel.wire.tsig import BadSignature, TsigKey, find_tsig, read_tsig, sign
from ginnel.words import Endpoint
from tests.core.relaydns.relay_names import SETTINGS, ZONE, derp_map, node, region, relays, zone
from tests.ports import free_port
from tests.shell.relaydns.dig import dig, met, until
from tests.shell.relaydns.knot import KEY_LINE, PRIMARY, SECONDARY, knot


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "update.key"
    path.touch(0o600)
    path.write_text(KEY_LINE)
    return path


@pytest.fixture
def updater(tmp_path, key_file):
    def make(port, key=None):
        server = Endpoint.parse(f"127.0.0.1:{port}")
        target = UpdateTarget(server, name_of(ZONE), key or read_key_file(key_file))
        return Updater(target, tmp_path / "written.json")

    return make


async def counted(port, label="derp1-all"):
    return len(await dig(port, label, "A")), len(await dig(port, label, "AAAA"))


async def holds(port, count):
    return await counted(port) == (count, count)


async def test_a_real_server_gets_what_differs_and_nothing_else(tmp_path, updater):
    port = free_port()
    async with knot(tmp_path / "k", port, PRIMARY):
        ours = updater(port)
        assert await ours.bring_about(zone(relays(1, 3), relays(2, 1))) == 16
        assert await counted(port) == (3, 3)
        assert await ours.bring_about(zone(relays(1, 3), relays(2, 1))) == 0
        assert await ours.bring_about(zone(relays(1, 4))) == 8
        assert (await counted(port), await counted(port, "derp2-all")) == ((4, 4), (0, 0))
        again = updater(port)  # a restart remembers which names are its own
        await again.bring_about(zone(relays(3, 1)))
        assert (await counted(port), await counted(port, "derp3-all")) == ((0, 0), (1, 1))
        assert len(await dig(port, "ns1", "A")) == 1


async def test_large_changes_go_in_several_updates(tmp_path, updater):
    port = free_port()
    async with knot(tmp_path / "k", port, PRIMARY):
        assert await updater(port).bring_about(zone(relays(1, 400))) == 1600
        assert len(await dig(port, "derp1-all", "AAAA", "+tcp")) == 400
        assert await updater(port).bring_about(zone(relays(1, 400))) == 0


async def test_what_was_edited_by_hand_is_put_back(tmp_path, updater):
    port = free_port()
    async with knot(tmp_path / "k", port, PRIMARY):
        await updater(port).bring_about(zone(relays(1, 2)))
        other = updater(port)
        other._written = set()
        await other.bring_about(zone(relays(1, 1)))
        assert await counted(port) == (1, 1)
        assert await updater(port).bring_about(zone(relays(1, 2))) == 2
        assert await counted(port) == (2, 2)


async def test_a_wrong_key_changes_nothing_and_says_so(tmp_path, updater):
    port = free_port()
    path = tmp_path / "wrong.key"
    path.touch(0o600)
    path.write_text(KEY_LINE.replace("MDEy", "AAAA"))
    async with knot(tmp_path / "k", port, PRIMARY):
        await updater(port).bring_about(zone(relays(1, 2)))
        with pytest.raises((UpdateFailed, BadSignature)) as refused:
            await updater(port, read_key_file(path)).bring_about(zone(relays(1, 1)))
        assert "key" in str(refused.value)
        assert await counted(port) == (2, 2)


async def test_a_server_that_is_down_is_tried_again_until_it_is_up(tmp_path, updater, monkeypatch):
    monkeypatch.setattr(update.core, "FIRST_RETRY", 0.05)
    monkeypatch.setattr(update.core, "MAX_RETRY", 0.1)
    port = free_port()
    ours = updater(port)
    ours.publish(zone(relays(1, 2)))
    running = asyncio.create_task(ours.run())
    try:
        await met(lambda: ours.failures)
        assert ours.why
        async with knot(tmp_path / "k", port, PRIMARY):
            await until(lambda: holds(port, 2))
            ours.publish(zone(relays(1, 5)))
            await until(lambda: holds(port, 5))
            await met(lambda: not ours.failures)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.mark.parametrize("reply", [b"", b"\x00\x05hello", b"\xff\xff" + bytes(1000), b"\x00\x0c" + bytes(12)])
async def test_a_server_that_answers_nonsense_is_a_failure(updater, reply):
    async def nonsense(reader, writer):
        await reader.read(10)
        writer.write(reply)
        with suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    ours = updater(server.sockets[0].getsockname()[1])
    ours._zone = zone(relays(1, 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(update.core, "retry_after", lambda failures, jitter: 0.0)
        assert await ours._round() == 0
    assert ours.failures == 1
    server.close()


async def test_a_silent_server_is_left(updater, monkeypatch):
    monkeypatch.setattr(update, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError):
        await updater(silent.getsockname()[1]).bring_about(zone(relays(1, 1)))


async def test_a_relay_whose_addresses_are_unknown_keeps_its_names_there(tmp_path, updater):
    port = free_port()
    async with knot(tmp_path / "k", port, PRIMARY):
        await updater(port).bring_about(zone(relays(1, 2)))
        lost = zone_of(derp_map(region(1, node("1a"), node("1b"))), SETTINGS).numbered(9)
        assert await updater(port).bring_about(lost) == 0
        assert await counted(port) == (2, 2)


async def test_knot_as_a_secondary_follows_by_notify_and_signed_transfer(tmp_path, world, start, key_file):
    theirs = free_port()
    served = await start(
        allow_transfer=("127.0.0.1/32",), transfer_key_file=str(key_file), notify=(f"127.0.0.1:{theirs}",)
    )
    running = asyncio.create_task(served.run())
    try:
        async with knot(tmp_path / "k", theirs, SECONDARY.replace("PRIMARY", str(served.ports[0]))):
            for count in (2, 5, 3, 60):
                world.change(served, derp_map(relays(1, count)))
                await until(partial(holds, theirs, count))
            assert served.counters["transfer"] >= 4
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.mark.parametrize("honest", [True, False])
async def test_answers_that_another_secret_signed_are_not_believed(updater, key_file, honest):
    """A forger says that the server has no names; the honest one says it too, and is then sent updates."""
    key = read_key_file(key_file)
    signer = key if honest else TsigKey(key.name, key.algorithm, bytes(32))

    async def empty(reader, writer):
        with suppress(asyncio.IncompleteReadError):
            while True:
                packet = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                asked = read_tsig(packet, find_tsig(packet))
                made = asked.bare[:2] + b"\x84\x00" + asked.bare[4:6] + bytes(6) + asked.bare[12:]
                if asked.bare[2] >> 3 == UPDATE:
                    made = asked.bare[:2] + b"\xa8\x00" + bytes(8)
                answer, _ = sign(made, signer, int(time.time()), asked.mac)
                writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()

    server = await asyncio.start_server(empty, "127.0.0.1", 0)
    bringing = updater(server.sockets[0].getsockname()[1]).bring_about(zone(relays(1, 1)))
    if honest:
        assert await bringing == 4
    else:
        with pytest.raises(BadSignature, match="wrong"):
            await bringing
    server.close()
