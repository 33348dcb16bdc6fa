"""A server's orders, done to a relay that runs."""

from __future__ import annotations

import secrets

from ginnel.shell.relay_orders import RelayOrders
from ginnel.wire.relaycontrol import MeshNode, RelayOrder
from ginnel.words import NodeKey, NodePrivate
from tests.shell.derp_client import login
from tests.shell.derp_mesh import RESTARTING, Node, Region, meshed, until


def orders(relay: Node) -> RelayOrders:
    return RelayOrders(relay.native, lambda _: None)


def mesh_node(relay: Node) -> MeshNode:
    host, addresses, port, cert_name = relay.peer
    return MeshNode(host, list(addresses), port, cert_name)


async def test_a_prober_is_no_client(start: Region) -> None:
    relay = start()
    taken = orders(relay)
    prober = NodePrivate(secrets.token_bytes(32))
    taken.take(RelayOrder(begin=True, members=[], probers=[prober.public()], complete=True))
    async with login(relay.port, relay.key, private=prober.raw), login(relay.port, relay.key):
        await until(lambda: relay.native.client_count() == 2)
        assert taken.clients() == 1


async def test_relays_that_are_told_of_each_other_are_meshed_until_they_are_told_otherwise(start: Region) -> None:
    a, b = start(), start()
    key = secrets.token_hex(32)
    first, second = orders(a), orders(b)
    first.take(RelayOrder(mesh_key=key, mesh=[mesh_node(b)]))
    second.take(RelayOrder(mesh_key=key, mesh=[mesh_node(a)]))
    await meshed(a, b)
    assert (first.mesh_links(), second.mesh_links()) == (1, 1)
    first.take(RelayOrder(mesh_key="none", mesh=[]))
    await until(lambda: second.mesh_links() == 0)


async def test_a_drain_tells_clients_and_its_end_closes_who_stayed(start: Region) -> None:
    relay = start()
    taken = orders(relay)
    async with login(relay.port, relay.key) as client:
        taken.take(RelayOrder(state="draining", refuse_logins=True))
        await client.expect(RESTARTING)
        assert taken.clients() == 1
        taken.take(RelayOrder(state="drained", refuse_logins=True))
        await until(lambda: taken.clients() == 0)
    taken.take(RelayOrder(state="in map"))
    async with login(relay.port, relay.key):
        await until(lambda: taken.clients() == 1)


async def test_members_count_once_their_list_is_whole(start: Region) -> None:
    relay = start(members_only=True)
    taken = orders(relay)
    one, two = (NodePrivate(secrets.token_bytes(32)) for _ in range(2))
    taken.take(RelayOrder(begin=True, members=[one.public()]))
    assert taken.members == set[NodeKey]()
    taken.take(RelayOrder(members=[two.public()], complete=True))
    async with login(relay.port, relay.key, private=one.raw), login(relay.port, relay.key, private=two.raw):
        taken.take(RelayOrder(removed=[one.public()]))
        await until(lambda: taken.clients() == 1)
