"""Relays join a server's fleet, are looked at, enter its map and leave it: real sockets on loopback."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ginnel.core.control.refused import Refused
from ginnel.shell.control.relay_arguments import DrainRelay, MaybeName, Nothing, RelayName, RemoveRelay, TokenName
from ginnel.shell.control.run import ControlServer
from ginnel.shell.control.store import StoreUnavailable
from ginnel.shell.fleet_agent import NotOfTheFleet
from ginnel.shell.fleet_state import was_leaving
from ginnel.wire.mapstream import MapDecoder
from ginnel.wire.relaycontrol import RelayHello, RelayReport
from ginnel.wire.tailcfg import DERPNode, encode
from ginnel.words import NodePrivate
from tests.ports import free_port
from tests.shell.control.control_client import PATIENCE, Client, auth_key
from tests.shell.control.fleet_world import eventually, fleet_server, joined, nodes_of, token_for
from tests.shell.derp_client import login

FOLLOWING: list[asyncio.Task[None]] = []


async def relays(server: ControlServer) -> dict[str, Any]:
    return {relay["name"]: relay for relay in await server.admin.relays.listed(Nothing(), "test")}


async def test_a_relay_with_a_token_enters_the_map_once_it_answers(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server:
        async with joined(tmp_path / "relay", await token_for(server, name="Frankfurt")) as relay:
            await eventually(lambda: nodes_of(server, 901), "the relay in the map")
            (node,) = nodes_of(server, 901)
            assert node.cert_name == relay.relay.leaf.pin
            assert (node.name, node.ipv4, node.ipv6) == ("901a", "127.0.0.1", "none")
            region = (server.derp_map.regions or {})[901]
            assert region is not None
            assert (region.region_code, region.region_name) == ("fra", "Frankfurt")
            assert "901a" in relay.said
        trail = [entry["verb"] for entry in await server.admin.audit_list(Nothing(), "test")]  # type: ignore[arg-type]
        assert {"relay token create", "relay join", "relay in"} <= set(trail)


async def test_connected_clients_hear_of_a_new_relay_at_once(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server, Client(server) as client:
        await client.register(await auth_key(server))
        stream = await client.stream()
        assert "901" not in (await stream.until("DERPMap"))["DERPMap"]["Regions"]
        async with joined(tmp_path / "relay", await token_for(server)):
            assert "901" in (await stream.until("DERPMap"))["DERPMap"]["Regions"]


async def test_a_token_is_good_once(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server:
        token = await token_for(server)
        async with joined(tmp_path / "first", token) as first:
            await eventually(lambda: "901a" in first.said, "the first relay joins")
            async with joined(tmp_path / "second", token) as second:
                with pytest.raises(NotOfTheFleet, match="used already"):
                    await asyncio.wait_for(second.running, PATIENCE)


async def test_a_token_that_expired_or_was_revoked_lets_nobody_in(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server:
        expired, revoked = await token_for(server, expiration=1e-9), await token_for(server)
        (_, record) = server.fleet.book.tokens.values()
        await server.admin.relays.token_revoke(TokenName(record.prefix), "test")
        for token, why in ((expired, "expired"), (revoked, "revoked")):
            async with joined(tmp_path / why, token) as relay:
                with pytest.raises(NotOfTheFleet, match=why):
                    await asyncio.wait_for(relay.running, PATIENCE)


async def test_members_and_revocations_reach_a_relay_and_strangers_stay_out(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server, Client(server) as client:  # noqa: SIM117
        async with joined(tmp_path / "relay", await token_for(server)) as relay:
            await client.register(await auth_key(server))
            await eventually(lambda: str(client.key.public()) in relay.members, "the member at the relay")
            (node,) = server.coordinator.registry.nodes.values()
            await server.coordinator.change(lambda wall: (None, server.coordinator.registry.expire_node(node, wall)))
            await eventually(lambda: str(client.key.public()) not in relay.members, "its end")


async def test_a_relay_outlives_its_servers_restart_with_the_members_it_knew(tmp_path: Path) -> None:
    port = free_port()
    async with fleet_server(tmp_path / "server", port=port) as server:
        relay = joined(tmp_path / "relay", await token_for(server))
        running = await relay.__aenter__()
        try:
            await eventually(lambda: nodes_of(server, 901) and running.members, "the relay in the map")
        except BaseException:
            await relay.__aexit__(None, None, None)
            raise
    try:
        members = running.members
        await eventually(lambda: any(line.startswith("away") for line in running.said), "the relay notices")
        assert running.members == members
        async with fleet_server(tmp_path / "server", port=port) as server:
            assert nodes_of(server, 901), "a restart moves nobody"
            await eventually(lambda: server.fleet.live[2].connected, "the relay is back")
            assert running.members == members
    finally:
        await relay.__aexit__(None, None, None)


async def test_a_relay_that_dies_leaves_the_map_and_comes_back(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server:
        token = await token_for(server)
        async with joined(tmp_path / "relay", token):
            await eventually(lambda: nodes_of(server, 901), "the relay in the map")
        await eventually(lambda: not nodes_of(server, 901), "the relay out of the map")
        assert (await relays(server))["901a"]["state"] == "out"
        async with joined(tmp_path / "relay", token):
            await eventually(lambda: nodes_of(server, 901), "the relay in the map again")


async def test_a_removed_relay_is_told_and_needs_a_new_token(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server:  # noqa: SIM117
        async with joined(tmp_path / "relay", await token_for(server)) as relay:
            await eventually(lambda: nodes_of(server, 901), "the relay in the map")
            await server.admin.relays.remove(RemoveRelay("901a"), "test")
            with pytest.raises(NotOfTheFleet):
                await asyncio.wait_for(relay.running, PATIENCE)
            assert relay.members == set()
            assert not nodes_of(server, 901)


async def test_a_drained_region_is_no_home_until_it_is_empty_and_then_gone(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server, joined(tmp_path / "relay", await token_for(server)):
        await eventually(lambda: nodes_of(server, 901), "the relay in the map")
        await server.admin.relays.drain(DrainRelay("fra"), "test")
        region = (server.derp_map.regions or {})[901]
        assert region is not None
        assert region.no_measure_no_home
        await eventually(lambda: not nodes_of(server, 901), "the relay, empty, out of the map")
        assert (await relays(server))["901a"]["state"] == "drained"
        await server.admin.relays.undrain(RelayName("901a"), "test")
        await eventually(lambda: nodes_of(server, 901), "the relay in the map again")


async def test_the_last_relay_is_neither_drained_nor_removed_unless_forced(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server:
        with pytest.raises(Refused, match="add one first"):
            await server.admin.relays.drain(DrainRelay("900"), "test")


async def test_a_probe_names_each_address_and_port(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server, joined(tmp_path / "relay", await token_for(server)):
        await eventually(lambda: nodes_of(server, 901), "the relay in the map")
        (look,) = await server.admin.relays.probe(MaybeName("901a"), "test")
        assert look["good"]
        found = {(f["service"], f["family"], f["address"], f["result"]) for f in look["findings"]}
        assert found == {("DERP", 4, "127.0.0.1", "good"), ("STUN", 4, "127.0.0.1", "good")}


async def test_a_relay_that_shows_another_key_than_it_registered_does_not_enter(tmp_path: Path) -> None:
    """The entry points at the server's own relay; the key is not that one's."""
    async with fleet_server(tmp_path / "server") as server:
        async with Client(server) as stranger:
            own = nodes_of(server, 900)[0]
            from ginnel.wire.relay_token import parse_relay_token

            secret = parse_relay_token(await token_for(server)).secret
            hello = RelayHello(NodePrivate(os.urandom(32)).public(), own, secret)
            status, body = await stranger.post("/machine/relay/register", encode(hello))
            assert (status, json.loads(body)["Name"]) == (200, "901a")
            await eventually(lambda: server.fleet.live[2].outlook, "the probe")
        assert "another relay answers" in (await relays(server))["901a"]["why"]
        assert not nodes_of(server, 901)


async def test_a_machine_that_is_no_relay_gets_no_orders(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server, Client(server) as stranger:
        status, _ = await stranger.post("/machine/relay/stream", b"{}")
        assert status == 403
        hello = RelayHello(NodePrivate(os.urandom(32)).public(), DERPNode("", 0, "relay.example.com"))
        _, body = await stranger.post("/machine/relay/register", encode(hello))
        assert "token" in json.loads(body)["Error"]


async def test_relays_of_one_region_are_given_one_mesh_key_and_another_when_one_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet_server(tmp_path / "server") as server:
        from ginnel.wire.relay_token import parse_relay_token

        clients = [Client(server, "one"), Client(server, "two")]
        orders: list[list[dict[str, Any]]] = []
        for number, client in enumerate(clients):
            await client.connect()
            secret = parse_relay_token(await token_for(server)).secret
            node = DERPNode("", 0, f"127.0.0.{number + 2}", derp_port=1, stun_port=-1)
            hello = RelayHello(NodePrivate(os.urandom(32)).public(), node, secret, mesh=True)
            await client.post("/machine/relay/register", encode(hello))
            orders.append(follow(client))
        await eventually(lambda: all(mesh_keys(o)[-1:] not in ([], ["none"]) for o in orders), "a mesh key at both")
        first = mesh_keys(orders[0])[-1]
        assert len(bytes.fromhex(first)) == 32
        assert mesh_keys(orders[1])[-1] == first
        peers = [order["Mesh"] for order in orders[0] if "Mesh" in order][-1]
        assert [peer["Host"] for peer in peers] == ["127.0.0.3"]
        assert server.fleet.book.regions[901].mesh_key.hex() == first
        with monkeypatch.context() as failing:
            failing.setattr(server.coordinator.store, "commit", only_one(server.coordinator.store.commit))
            await server.admin.relays.remove(RemoveRelay("901b"), "test")
        await eventually(lambda: mesh_keys(orders[0])[-1] != first, "another key")
        assert server.fleet.book.regions[901].mesh_key.hex() != first
        assert first not in repr(server.fleet.book.regions[901])
        for client in clients:
            await client.hang_up()
        while FOLLOWING:
            FOLLOWING.pop().cancel()


def only_one(commit: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """The database fails behind the next change."""
    left = [True]

    async def once(rows: Any) -> None:
        if not left:
            raise StoreUnavailable("the disk is full")
        left.clear()
        await commit(rows)

    return once


def mesh_keys(orders: list[dict[str, Any]]) -> list[str]:
    return [order["MeshKey"] for order in orders if order.get("MeshKey")]


def follow(client: Client) -> list[dict[str, Any]]:
    """Every order that comes by a new stream of this machine."""
    from ginnel.core.channel import Body

    stream = client.start("/machine/relay/stream", b"{}")
    came: list[dict[str, Any]] = []
    decoder = MapDecoder("zstd")

    async def read() -> None:
        while True:
            event = await client._inboxes[stream].get()
            if isinstance(event, Body):
                came.extend(json.loads(message) for message in decoder.feed(event.data))

    FOLLOWING.append(asyncio.create_task(read()))
    return came


async def test_relays_of_one_region_are_meshed_and_the_server_s_own_with_who_joins_it(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server:
        joining = [await token_for(server), await token_for(server), await token_for(server, region=900, code="own")]
        async with (
            joined(tmp_path / "a", joining[0]) as a,
            joined(tmp_path / "b", joining[1]) as b,
            joined(tmp_path / "beside", joining[2]) as beside,
        ):
            for relay in (a, b, beside):
                await eventually(lambda r=relay: [row[1] for row in r.relay.native.mesh()] == [True], "its link")
            await eventually(
                lambda: server.fleet.live_now(server.fleet.book.relays[1]).mesh_links == 1, "the own one's"
            )
            assert (await relays(server))["900a"]["mesh_links"] == 1


async def test_a_relay_that_is_stopped_is_drained_first_and_used_again_when_it_is_back(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server, Client(server) as node:
        token = await token_for(server)
        await node.register(await auth_key(server))
        async with joined(tmp_path / "relay", token) as relay:
            await eventually(lambda: nodes_of(server, 901), "the relay in the map")
            await eventually(lambda: relay.agent._orders.state == "in map", "the relay knows")
            await eventually(lambda: str(node.key.public()) in relay.members, "the member at the relay")
            (_, port) = relay.relay.native.addresses()["tls"][0]
            async with login(port, relay.relay.key.raw, private=node.key.raw):
                leaving = asyncio.create_task(relay.agent.leave(PATIENCE))
                await eventually(lambda: is_no_home(server, 901), "no home")
                assert not leaving.done()
            await leaving
            await eventually(lambda: not nodes_of(server, 901), "out of the map before it is gone")
            assert (await relays(server))["901a"]["state"] == "drained"
        async with joined(tmp_path / "relay", token):
            await eventually(lambda: nodes_of(server, 901), "the relay in the map again")


async def test_an_admins_drain_outlives_the_relays_wish_its_restart_and_the_servers(tmp_path: Path) -> None:
    port = free_port()
    async with fleet_server(tmp_path / "server", port=port) as server:
        token = await token_for(server)
        async with joined(tmp_path / "relay", token) as relay:
            await eventually(lambda: relay.agent._orders.state == "in map", "the relay knows")
            await asyncio.wait_for(relay.agent.leave(PATIENCE), PATIENCE)
            await eventually(lambda: server.fleet.book.relays[2].state == "left", "kept as its own wish")
        assert was_leaving(tmp_path / "relay")
        await server.admin.relays.drain(DrainRelay("901a"), "test")
        await eventually(lambda: server.fleet.book.relays[2].state == "drained", "kept as the admin's word")
    async with fleet_server(tmp_path / "server", port=port) as server, joined(tmp_path / "relay", token) as relay:
        await eventually(lambda: not was_leaving(tmp_path / "relay"), "its wish is taken back")
        assert (await relays(server))["901a"]["state"] == "drained"
        await server.admin.relays.undrain(RelayName("901a"), "test")
        await eventually(lambda: nodes_of(server, 901), "the relay in the map again")


async def test_a_wish_that_comes_with_a_new_entry_is_granted_and_keeps_its_deadline(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server, Client(server) as node:
        token = await token_for(server)
        await node.register(await auth_key(server))
        async with joined(tmp_path / "relay", token) as relay:
            await eventually(lambda: nodes_of(server, 901), "the relay in the map")
            await eventually(lambda: str(node.key.public()) in relay.members, "the member at the relay")
            (_, port) = relay.relay.native.addresses()["tls"][0]
            async with login(port, relay.relay.key.raw, private=node.key.raw):
                machine, entry = relay.agent._settings.machine.public(), relay.agent._own_entry()
                changed = msgspec.structs.replace(entry, can_port80=True)
                answer = await server.coordinator.relays.report(machine, RelayReport(changed, clients=1, drain=True))
                assert not answer.error
                await eventually(lambda: not server.fleet.live[2].restated, "seen as it is now")
                await server.fleet.change(lambda _: (None, []))
                record = server.fleet.book.relays[2]
                assert (record.state, record.node.can_port80) == ("leaving", True)
                assert (record.drain_until or 0) > server.coordinator.wall() + 60


async def test_who_drains_lets_clients_in_again_when_the_others_of_its_region_are_gone(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server, Client(server) as node:
        joining = [await token_for(server) for _ in range(2)]
        await node.register(await auth_key(server))
        async with joined(tmp_path / "a", joining[0]) as a, joined(tmp_path / "b", joining[1]) as b:
            await eventually(lambda: len(nodes_of(server, 901)) == 2, "both in the map")
            await eventually(lambda: server.fleet.meshes.whole(901), "their mesh")
            await eventually(lambda: str(node.key.public()) in b.members, "the member at the relay")
            (_, port) = b.relay.native.addresses()["tls"][0]
            async with login(port, b.relay.key.raw, private=node.key.raw):
                name = next(line for line in b.said if line.startswith("901"))
                await server.admin.relays.drain(DrainRelay(name), "test")
                await eventually(lambda: b.agent._orders._refusing, "it lets nobody in")
                await a.stop()
                await eventually(lambda: not b.agent._orders._refusing, "it lets them in again")


def is_no_home(server: ControlServer, number: int) -> bool:
    region = (server.derp_map.regions or {}).get(number)
    return region is not None and region.no_measure_no_home


async def test_the_last_relay_is_not_drained_by_its_own_wish(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server", relay=False) as server:  # noqa: SIM117
        async with joined(tmp_path / "relay", await token_for(server)) as relay:
            await eventually(lambda: nodes_of(server, 901), "the relay in the map")
            await eventually(lambda: relay.agent._orders.state == "in map", "the relay knows")
            await asyncio.wait_for(relay.agent.leave(PATIENCE), PATIENCE)
            assert nodes_of(server, 901)
            assert any("no other relay" in line for line in relay.said)


async def test_machines_with_a_tag_see_the_regions_of_their_view_alone(tmp_path: Path) -> None:
    regions = {"7": {"code": "far", "name": "Far", "nodes": [{"host": "far.example.com"}]}}
    view = {"tags": ["tag:eu"], "regions": ["far"]}
    async with fleet_server(tmp_path, regions=regions, relays={"view": [view]}) as server:
        seen = {}
        for name, options in (("one", {"tags": ["tag:eu"], "user": ""}), ("two", {})):
            async with Client(server, name) as client:
                await client.register(await auth_key(server, **options))
                frame = await (await client.stream()).until("DERPMap")
                seen[name] = list(frame["DERPMap"]["Regions"])
        assert seen == {"one": ["7"], "two": ["7", "900"]}
