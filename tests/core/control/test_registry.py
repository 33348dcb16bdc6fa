"""Users, keys and node keys over long histories."""

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ginnel.core.control.login import Reply
from ginnel.core.control.records import Node, PreauthKey, Released
from ginnel.core.control.registry import Refused, Registry
from ginnel.words import WallTime
from tests.core.control.control_world import LOGOUT, World, machine, node_key

steps = st.lists(
    st.tuples(
        st.sampled_from(["join", "logout", "delete", "rotate", "expire", "ask"]), st.integers(0, 3), st.integers(0, 5)
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_a_node_key_belongs_to_one_machine_for_ever(history: list[tuple[str, int, int]]) -> None:
    """Whatever four machines do with six node keys, by any path."""
    world = World()
    owner: dict[str, str] = {}
    for step, which, key in history:
        on, name = f"m{which}", f"k{key}"
        take(world, step, on, name)
        node = world.registry.node_of(node_key(name), machine(on))
        if node is not None:
            assert owner.setdefault(name, on) == on
        addresses = [a for n in world.registry.nodes.values() for a in (n.ipv4, n.ipv6)]
        labels = [n.label for n in world.registry.nodes.values()]
        assert len(set(addresses)) == len(addresses)
        assert len(set(labels)) == len(labels)


def take(world: World, step: str, on: str, name: str) -> None:
    node = world.registry.node_of(node_key(name), machine(on))
    wall = WallTime(world.wall)
    if step == "join":
        world.answer(name, world.key(), on=on)
    elif step == "rotate":
        world.answer(name, world.key(), on=on, old_node_key=node_key("k0"))
    elif step == "logout":
        world.answer(name, on=on, expiry=LOGOUT)
    elif step == "ask":
        outcome = world.ask(name, on=on)
        assert isinstance(outcome, Reply)
    elif node is not None:
        world.commit(
            world.registry.delete_node(node, wall) if step == "delete" else world.registry.expire_node(node, wall)
        )


@settings(max_examples=50, deadline=None)
@given(steps)
def test_rows_rebuild_the_registry(history: list[tuple[str, int, int]]) -> None:
    world = World()
    for step, which, key in history:
        take(world, step, f"m{which}", f"k{key}")
    again = Registry()
    again.apply(world.rows)
    assert (again.users, again.nodes, again.keys, again.status) == (
        world.registry.users,
        world.registry.nodes,
        world.registry.keys,
        world.registry.status,
    )
    again.renumber()
    assert again.next_node_id() == world.registry.next_node_id()


def test_a_pre_auth_key_is_kept_as_a_hash_and_in_no_repr() -> None:
    world = World()
    text = world.key()
    secret = text.rpartition("-")[2]
    (row,) = [row for row in world.rows if isinstance(row, PreauthKey)]
    assert len(secret) * 4 >= 128
    assert secret not in repr(row)
    assert secret.encode() not in row.digest
    assert row.prefix in text


def test_ids_are_not_given_twice_after_a_restart() -> None:
    world = World()
    world.join("a")
    gone = world.join("b")
    world.commit(world.registry.delete_node(gone, WallTime(world.wall)))
    again = Registry()
    again.apply([row for row in world.rows if isinstance(row, Node) and row.id != gone.id])
    again.resume_ids(user=1, node=gone.id, key=2)
    assert again.next_node_id() == gone.id + 1


def test_freed_addresses_rest() -> None:
    world = World()
    gone = world.join("a")
    world.commit(world.registry.delete_node(gone, WallTime(world.wall)))
    assert world.join("b").ipv4 != gone.ipv4
    world.registry.renumber()
    assert world.join("c").ipv4 != gone.ipv4


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 64, "ä", "a\n"])
def test_user_names_are_plain(name: str) -> None:
    with pytest.raises(Refused, match="user name"):
        World().registry.create_user(name, WallTime(0.0))


def test_a_user_with_nodes_stays() -> None:
    world = World()
    world.join("laptop")
    with pytest.raises(Refused, match="still has nodes"):
        world.registry.destroy_user("alice", WallTime(world.wall))


def test_two_users_of_one_name_are_refused() -> None:
    world = World()
    with pytest.raises(Refused, match="exists already"):
        world.registry.create_user("alice", WallTime(0.0))


def test_a_name_that_is_taken_is_refused() -> None:
    world = World()
    world.join("laptop")
    with pytest.raises(Refused):
        world.registry.set_label(world.join("phone"), "laptop")


def test_an_address_that_was_given_back_twice_rests_from_the_second_time() -> None:
    registry, day = Registry(), 24 * 3600.0
    registry.apply([Released("100.64.0.9", "fd7a:115c:a1e0::9", WallTime(at)) for at in (0.0, 2 * day)])
    registry.renumber()
    registry.take_addresses(WallTime(2 * day + 1))
    assert int(ip_address("100.64.0.9")) in registry.pool._v4.rests
    registry.take_addresses(WallTime(3 * day))
    assert registry.released == {}


def test_a_label_follows_the_host_name_until_an_admin_chooses_one() -> None:
    world = World()
    world.join("phone")
    node = world.join("laptop")
    assert world.registry.follow_hostname(node) == []
    world.update(node, hostinfo={"Hostname": "Phone"})
    world.commit(world.registry.follow_hostname(node))
    assert (world.node("laptop").hostname, world.node("laptop").label) == ("Phone", "phone-1")
    world.commit(world.registry.set_label(world.node("laptop"), "tower"))
    world.update(node, hostinfo={"Hostname": "tablet"})
    world.commit(world.registry.follow_hostname(world.node("laptop")))
    assert (world.node("laptop").hostname, world.node("laptop").label) == ("tablet", "tower")


def test_a_machine_that_says_no_name_keeps_its_own() -> None:
    world = World()
    node = world.join("laptop")
    world.update(node, hostinfo={"OS": "linux"})
    assert world.registry.follow_hostname(node) == []
