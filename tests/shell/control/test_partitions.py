"""`ginnel nodes partitions` against a real server; its clients say what machines would."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from ginnel.cli.partitions import nodes
from ginnel.shell.control.partitions import PartitionDesk
from ginnel.shell.control.run import ControlServer
from ginnel.words import Instant
from tests.shell.control.control_client import Client, MapStream, auth_key
from tests.shell.control.fleet_world import fleet_server
from tests.shell.control.test_numbers import numbers

REGIONS = {
    str(n): {"code": f"r{n}", "name": f"R{n}", "nodes": [{"host": f"r{n}.example.com"}]} for n in (910, 911, 912)
}


def says(home: int, *unreached: int, ours: bool = True, **latency: float) -> dict[str, Any]:
    seen = {f"{n}-v4": 0.01 for n in (910, 911, 912) if n not in unreached} | latency
    said = {"PreferredDERP": home, "DERPLatency": seen}
    return {"NetInfo": said | ({"GinnelUnreached": list(unreached)} if ours else {})}


async def join(stack: AsyncExitStack, server: ControlServer, name: str, **netinfo: Any) -> tuple[Client, MapStream]:
    client = await stack.enter_async_context(Client(server, name))
    await client.register(await auth_key(server))
    stream = await client.stream(Hostinfo=client.hostinfo(**netinfo))
    await stream.until("DERPMap")
    return client, stream


async def command(state: Path, *words: str) -> str:
    result = await asyncio.to_thread(CliRunner().invoke, nodes, ["partitions", "--state", str(state), *words])
    assert result.exit_code == 0, result.output
    return result.output


async def test_the_admin_is_shown_region_machines_and_pairs(tmp_path: Path) -> None:
    async with fleet_server(tmp_path, regions=REGIONS, metrics="127.0.0.1:0") as server, AsyncExitStack() as stack:
        await join(stack, server, "alice", **says(910))
        assert (await command(tmp_path)).startswith("All machines that are online reach each other by relay")
        bob, _ = await join(stack, server, "bob", **says(911, 910))
        await join(stack, server, "carol", **says(912))
        (found,) = json.loads(await command(tmp_path, "--json"))
        assert (found["region"], found["region_code"], found["homed"], found["pairs"]) == (910, "r910", 1, 1)
        assert found["nodes"][0]["name"] == "bob"
        assert found["since"].endswith("Z")
        text = await command(tmp_path)
        assert "Region 910 (r910), since " in text
        assert "  bob --x-> alice\n" in text
        assert "ginnel firewall verify" in text
        told = await numbers(server.metrics_port)
        assert (told["ginnel_server_partitions_regions"], told["ginnel_server_partitions_pairs"]) == (1, 1)
        assert await bob.lite(Hostinfo=bob.hostinfo(**says(911))) == (200, b"")
        assert json.loads(await command(tmp_path, "--json")) == []


async def test_who_is_offline_keeps_nobody_apart(tmp_path: Path) -> None:
    async with fleet_server(tmp_path, regions=REGIONS) as server, AsyncExitStack() as stack:
        await join(stack, server, "alice", **says(910))
        bob, _ = await join(stack, server, "bob", **says(911, 910))
        assert server.partitions.found()
        registry = server.coordinator.registry
        server.coordinator.presence.forget(registry.node_named("bob").id)
        assert server.partitions.found() == []
        await bob.hang_up()
        await bob.connect()


async def test_official_clients_are_suspected_after_several_measurements(tmp_path: Path) -> None:
    async with fleet_server(tmp_path, relay=False, regions=REGIONS) as server, AsyncExitStack() as stack:
        await join(stack, server, "alice", **says(910))
        bob, _ = await join(stack, server, "bob", **says(911, 910, ours=False))
        for latency in (0.011, 0.011, 0.012):
            assert server.partitions.found() == []
            await bob.lite(Hostinfo=bob.hostinfo(**says(911, 910, ours=False, **{"911-v4": latency})))
        (found,) = json.loads(await command(tmp_path, "--json"))
        assert (found["region"], found["nodes"][0]["evidence"]) == (910, "missing from its reports")


async def test_regions_that_a_client_does_not_measure_are_not_missing(tmp_path: Path) -> None:
    silent = {"913": {"code": "r913", "name": "No STUN", "nodes": [{"host": "r913.example.com", "stun_port": -1}]}}
    settings = {"no_home": [910], "view": [{"users": ["default"], "omit": [912]}]}
    async with AsyncExitStack() as stack:
        starting = fleet_server(tmp_path, relay=False, regions=REGIONS | silent, relays=settings)
        server = await stack.enter_async_context(starting)
        bob, _ = await join(stack, server, "bob", **says(911, 910, 912, ours=False))
        for latency in (0.011, 0.012, 0.013, 0.014):
            bob_says = says(911, 910, 912, ours=False, **{"911-v4": latency})
            await bob.lite(Hostinfo=bob.hostinfo(**bob_says))
        assert server.partitions.found() == []
        assert server.partitions.core.regions == {910, 911, 912, 913}


async def test_a_machine_is_given_another_home_where_the_settings_allow_it(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(fleet_server(tmp_path, regions=REGIONS, relays={"rehome": True}))
        alice, told = await join(stack, server, "alice", **says(910))
        _, others = await join(stack, server, "bob", **says(911, 910))
        server.partitions.look()
        regions = (await told.until("DERPMap"))["DERPMap"]["Regions"]
        assert [n for n, region in regions.items() if region.get("NoMeasureNoHome")] == ["910"]
        (found,) = json.loads(await command(tmp_path, "--json"))
        assert found["moved"] == ["alice"]
        await alice.lite(Hostinfo=alice.hostinfo(**says(912)))
        server.partitions.look()
        assert [p.pairs for p in server.partitions.found()] == [0]
        assert server.coordinator.counters["partitions.moves"] == 1
        given = server.fleet.map.views.for_node(server.coordinator.registry.node_named("bob").id, (), "")
        assert b"NoMeasureNoHome" not in given, "only her map is another"
        await others.client.lite()


async def test_nobody_is_moved_without_leave(tmp_path: Path) -> None:
    async with fleet_server(tmp_path, regions=REGIONS) as server, AsyncExitStack() as stack:
        await join(stack, server, "alice", **says(910))
        await join(stack, server, "bob", **says(911, 910))
        server.partitions.look()
        assert server.fleet.map.away == {}


async def test_garbage_about_relays_harms_nobody(tmp_path: Path) -> None:
    async with fleet_server(tmp_path, regions=REGIONS) as server, AsyncExitStack() as stack:
        alice, _ = await join(stack, server, "alice", **says(910))
        for garbage in (
            {"NetInfo": 7},
            {"NetInfo": {"DERPLatency": {"x" * 5000: 1}, "GinnelUnreached": {"a": 1}}},
            {"NetInfo": {"GinnelUnreached": [[]] * 1000, "PreferredDERP": 910}},
            {"NetInfo": {"GinnelUnreached": list(range(3000))}},
        ):
            assert await alice.lite(Hostinfo=alice.hostinfo(**garbage)) == (200, b"")
        assert {p.region for p in server.partitions.found()} <= {900, 910, 911, 912}
        assert isinstance(server.partitions, PartitionDesk)
        assert server.partitions.rehome.away == {}
        assert Instant(0.0) < server.coordinator.now()
