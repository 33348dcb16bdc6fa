import msgspec

from ginnel.core.node.netmap import MapChange, NetMap
from ginnel.core.node.routing import SERVICE_ADDRESSES, Routing, concerns_routing, routing_of
from ginnel.wire.tailcfg import Node
from ginnel.words import NodeKey


def node(number: int, allowed: list[str] | None = None) -> Node:
    addresses = [f"100.64.0.{number}/32", f"fd7a:115c:a1e0::{number}/128"]
    return Node(
        number, f"n{number}", f"n{number}.example.", 1, NodeKey(bytes([number]) * 32), addresses, allowed_ips=allowed
    )


def routes(peer: Node, *, accept: bool = False) -> set[str]:
    wanted = routing_of(NetMap(self_node=node(1), peers={2: peer}), accept_routes=accept)
    assert wanted.addresses == {"100.64.0.1/32", "fd7a:115c:a1e0::1/128"}
    return set(wanted.routes) - set(SERVICE_ADDRESSES)


OWN = {"100.64.0.2/32", "fd7a:115c:a1e0::2/128"}


def test_without_a_map_there_is_nothing_to_route() -> None:
    assert routing_of(NetMap(), accept_routes=True) == Routing()


def test_absent_allowed_ips_stand_for_the_addresses_and_an_empty_list_for_nothing() -> None:
    assert routes(node(2)) == OWN
    assert routes(node(2, [])) == set()


def test_subnet_routes_only_when_they_are_accepted_and_default_routes_never() -> None:
    router = node(2, [*OWN, "10.0.0.0/8", "0.0.0.0/0", "::/0"])
    assert routes(router) == OWN
    assert routes(router, accept=True) == OWN | {"10.0.0.0/8"}


def test_a_bad_prefix_does_not_take_the_others_with_it() -> None:
    assert routes(node(2, [*OWN, "10.0.0.1/8", "x"]), accept=True) == OWN


def test_our_own_address_is_never_routed_into_the_tunnel() -> None:
    assert "100.64.0.1/32" not in routes(node(2, ["100.64.0.1/32"]), accept=True)


def test_only_changes_of_prefixes_concern_the_routes() -> None:
    before = node(2)
    moved = MapChange(changed=((before, node(2, [*OWN, "10.0.0.0/8"])),))
    online = MapChange(changed=((before, msgspec.structs.replace(before, online=True)),), health=True)
    assert concerns_routing(moved)
    assert not concerns_routing(online)
    for change in (MapChange(added=(before,)), MapChange(removed=(before,)), MapChange(self_node=True)):
        assert concerns_routing(change)


def test_the_meshs_resolver_never_leaves_the_machine() -> None:
    assert set(SERVICE_ADDRESSES) <= routing_of(NetMap(self_node=node(1)), accept_routes=False).routes
