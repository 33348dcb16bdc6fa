"""The relays' DNS on real sockets, asked by dig."""

import asyncio
import socket

import pytest

from ginnel.shell.relaydns.keyfile import RelayDnsError
from tests.core.relaydns.relay_names import both, derp_map, node, region, relays
from tests.shell.relaydns.dig import PATIENCE, dig, met, until


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
async def test_relays_that_come_and_go_are_seen_by_the_next_question(world, start, transport):
    served = await start()
    [port] = served.ports
    for count in (2, 3, 7, 40, 1, 0, 5):
        world.change(served, derp_map(relays(1, count), relays(2, 1)))
        for rtype in ("A", "AAAA"):
            assert len(await dig(port, "derp1-all", rtype, transport)) == count
    assert await dig(port, "derp1e", "A", transport) == ["192.0.2.5"]
    assert await dig(port, "derp1f", "A", transport) == []
    assert len(await dig(port, "derp2-all", "A", transport)) == 1


async def test_what_nobody_told_is_seen_by_the_periodic_rebuild(world, start):
    served = await start(rebuild=0.05)
    running = asyncio.create_task(served.run())
    world.map = derp_map(relays(1, 4))

    async def seen():
        return len(await dig(served.ports[0], "derp1-all", "A")) == 4

    await until(seen)
    running.cancel()


async def test_a_large_region_comes_whole_by_tcp_after_truncation(world, start):
    served = await start()
    world.change(served, derp_map(relays(1, 300)))
    assert len(await dig(served.ports[0], "derp1-all", "AAAA")) == 300
    assert served.counters["truncated"] == 1


async def test_the_serial_goes_on_after_a_restart(world, start):
    async def serial(of):
        [line] = await dig(of.ports[0], "", "SOA")
        return int(line.split()[2])

    first = await start()
    one = await serial(first)
    await first.close()
    second = await start()
    assert await serial(second) == one
    world.change(second, derp_map(relays(1, 3)))
    assert await serial(second) > one
    assert (world.state / "relay-dns.json").stat().st_mode & 0o777 == 0o600


async def test_a_damaged_state_file_is_no_reason_not_to_serve(world, start):
    (world.state / "relay-dns.json").write_text('{"serial": "x')
    served = await start()
    assert len(await dig(served.ports[0], "derp1-all", "A")) == 2


async def test_a_state_that_cannot_be_written_is_no_reason_not_to_serve(world, start):
    (world.state / "relay-dns.json.new").mkdir()
    served = await start()
    assert len(await dig(served.ports[0], "derp1-all", "A")) == 2


async def test_addresses_of_foreign_hosts_are_learnt_and_outlive_a_restart_without_dns(world, start):
    world.hosts["r.example.net", socket.AF_INET] = ["198.51.100.7", "127.0.1.1"]
    world.map = derp_map(region(1, both("1a", 1), node("1b", host="r.example.net")))
    served = await start()

    async def learnt(of=served):
        return sorted(await dig(of.ports[0], "derp1-all", "A")) == ["192.0.2.1", "198.51.100.7"]

    await until(learnt)
    await served.close()
    world.hosts.clear()
    assert await learnt(await start())


async def test_a_port_in_use_is_told_in_one_line(world, start):
    served = await start()
    with pytest.raises(RelayDnsError) as told:
        await start(listen=(f"127.0.0.1:{served.ports[0]}",))
    assert "another program has the port" in str(told.value)
    assert "\n" not in str(told.value)
    free = await start()  # what failed left nothing behind
    assert await dig(free.ports[0], "derp1a", "A")


async def test_several_addresses_are_listened_on(start):
    served = await start(listen=("127.0.0.1:0", "127.0.0.2:0", "[::1]:0"))
    for port, at in zip(served.ports, ("127.0.0.1", "127.0.0.2", "::1"), strict=True):
        for transport in ("+tcp", "+notcp"):
            assert await dig(port, "derp1a", "A", transport, at=at) == ["192.0.2.1"]


async def test_listening_nowhere_still_has_a_zone_to_print(start):
    served = await start(listen=())
    assert served.ports == []
    assert "derp1-all" in served.told()["zonefile"]


async def test_closing_takes_connections_and_sockets_along(start):
    served = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.ports[0])
    await met(lambda: served._door.connections)
    async with asyncio.timeout(PATIENCE):
        await served.close()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    writer.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", served.ports[0]))
