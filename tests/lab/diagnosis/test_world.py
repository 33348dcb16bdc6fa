import random

from ginnel.lab.diagnosis.world import World, joined
from ginnel.lab.kinds import network


def entry(region: int, name: str) -> dict[str, object]:
    return {"RegionID": region, "RegionCode": "fra", "Nodes": [{"Name": name}]}


def test_relays_of_one_region_become_its_nodes_in_order():
    given = [entry(910, "910a"), entry(911, "911b"), entry(910, "910c")]
    found = joined(given)
    assert {region: [node["Name"] for node in made["Nodes"]] for region, made in found.items()} == {
        "910": ["910a", "910c"],
        "911": ["911b"],
    }
    assert [len(one["Nodes"]) for one in given] == [1, 1, 1], "what was given stays as it was"


def test_every_machine_but_the_server_and_the_relays_is_a_member():
    world = World(network(alice="easy", bob="none", carol="easy"), random.Random(1), ("derp-a",))
    assert world.machines == ["alice", "bob", "carol"]
    assert "derp-a" in [host.name for host in world.topology.hosts]


def test_relays_have_ipv6_where_a_member_has():
    world = World(network(alice="dual-hard", bob="none"), random.Random(1), ("derp-a",))
    assert {host.name: host.families for host in world.topology.hosts}["derp-a"] == (4, 6)
