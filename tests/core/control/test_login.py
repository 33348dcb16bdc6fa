"""What a register request gets, row by row."""

import pytest

from ginnel.core.control import limits
from ginnel.core.control.login import BadRequest, Caller, Hold, Reply
from ginnel.core.control.records import TAGGED_USER, Drop, Node, Spend
from ginnel.core.control.registry import Refused
from ginnel.words import Instant, NodeKey, WallTime
from tests.core.control.control_world import LOGOUT, World, at, machine, node_key


def test_a_key_lets_a_machine_in_at_once() -> None:
    world = World()
    response = world.answer("laptop", world.key())
    assert (response.error, response.auth_url, response.node_key_expired) == ("", "", False)
    assert response.machine_authorized
    assert (response.user.id, response.login.login_name) == (world.alice.id, "alice")
    node = world.node("laptop")
    assert (node.ipv4, node.label, node.hostname) == ("100.64.0.1", "laptop", "laptop")


def refusal(world: World, *arguments: object, **members: object) -> str:
    """The error's text; nothing may be stored for a refused attempt."""
    outcome = world.ask(*arguments, **members)
    assert isinstance(outcome, Reply)
    assert outcome.refused
    assert outcome.rows == ()
    return outcome.response.error


def test_an_unknown_key_is_refused() -> None:
    assert refusal(World(), "laptop", "gkey-000000000000-" + 40 * "0") == "invalid pre auth key"


def test_a_key_with_a_wrong_secret_is_refused() -> None:
    world = World()
    assert refusal(world, "laptop", world.key()[:-1] + "x") == "invalid pre auth key"


def test_a_revoked_key_is_refused() -> None:
    world = World()
    key = world.key()
    world.commit(world.registry.revoke_key(key, WallTime(world.wall)))
    assert refusal(world, "laptop", key) == "authkey revoked"


def test_an_expired_key_is_refused() -> None:
    world = World()
    key = world.key(lifetime=60)
    world.pass_time(60)
    assert refusal(world, "laptop", key) == "authkey expired"


def test_a_used_one_shot_key_is_refused_to_the_next_machine() -> None:
    world = World()
    key = world.key()
    world.answer("laptop", key)
    assert refusal(world, "phone", key) == "authkey already used"


def test_a_reusable_key_lets_many_in() -> None:
    world = World()
    key = world.key(reusable=True)
    assert {world.answer(name, key).error for name in "abc"} == {""}
    assert len(world.registry.nodes) == 3


def test_the_keys_of_a_destroyed_user_are_refused() -> None:
    world = World()
    bob = world.user("bob")
    key = world.key(bob)
    world.commit(world.registry.destroy_user("bob", WallTime(world.wall)))
    assert refusal(world, "laptop", key) == "authkey revoked"


def test_a_key_whose_user_is_not_there_is_refused() -> None:
    world = World()
    bob = world.user("bob")
    key = world.key(bob)
    world.commit([Drop("user", bob.id)])  # as where the user's row could not be read
    assert refusal(world, "laptop", key) == "invalid pre auth key"


def test_a_spent_key_is_taken_again_from_the_same_machine_with_the_same_node_key() -> None:
    world = World()
    key = world.key()
    world.answer("laptop", key)
    world.pass_time(7200)  # containers come up with the key they once had, long after its end
    assert world.answer("laptop", key).error == ""
    assert len(world.registry.nodes) == 1


def test_a_spent_key_does_not_bring_back_an_expired_node() -> None:
    world = World()
    key = world.key()
    world.answer("laptop", key)
    world.commit(world.registry.expire_node(world.node("laptop"), WallTime(world.wall)))
    assert world.answer("laptop", key).node_key_expired
    assert refusal(world, "laptop2", key, on="laptop", old_node_key=node_key("laptop")) == "authkey already used"


def test_requested_tags_beside_a_key_are_refused() -> None:
    world = World()
    text = refusal(world, "laptop", world.key(), hostinfo={"RequestTags": ["tag:server"]})
    assert text.startswith("requested tags")


def test_owner_tags_and_ephemeral_come_from_the_key_alone() -> None:
    world = World()
    response = world.answer("db", world.key(tags=("tag:server",)), ephemeral=True, expiry=at(world.wall + 60))
    node = world.node("db")
    assert (node.tags, node.ephemeral, node.user, node.expiry) == (("tag:server",), False, TAGGED_USER, None)
    assert (response.user.id, response.login.login_name) == (TAGGED_USER, "tagged-devices")


def test_a_restart_changes_nothing() -> None:
    world = World(key_lifetime=86400)
    node = world.join("laptop")
    world.pass_time(3600)
    outcome = world.ask("laptop")
    assert isinstance(outcome, Reply)
    assert outcome.rows == ()
    assert outcome.response.machine_authorized
    assert world.node("laptop") == node


def test_an_expired_node_key_is_told_so_also_with_a_key() -> None:
    world = World(key_lifetime=86400)
    world.join("laptop")
    world.pass_time(86400)
    assert world.answer("laptop").node_key_expired
    assert world.answer("laptop", world.key()).node_key_expired


def test_a_new_key_continues_the_same_node() -> None:
    world = World()
    old = world.join("laptop")
    world.answer("laptop2", world.key(), on="laptop", old_node_key=node_key("laptop"))
    new = world.node("laptop2", on="laptop")
    assert (new.id, new.ipv4, new.label) == (old.id, old.ipv4, old.label)
    assert world.registry.node_of(old.key, old.machine) is None


def test_another_owner_on_one_machine_is_another_node() -> None:
    world = World()
    first = world.join("laptop")
    world.answer("work", world.key(world.user("bob")), on="laptop")
    second = world.node("work", on="laptop")
    assert (first.id, first.ipv4) != (second.id, second.ipv4)
    assert world.node("laptop") == first


def test_a_node_that_takes_on_tags_stays_itself_and_so_does_one_that_gives_them_up() -> None:
    world = World(tags_allowed=True)
    first = world.join("laptop")
    hostinfo = {"Hostname": "laptop", "RequestTags": ["tag:server"]}
    wish = at(world.wall + 60)
    url = pend(world, "laptop2", on="laptop", old_node_key=node_key("laptop"), hostinfo=hostinfo, expiry=wish)
    tagged = approve(world, url)
    assert tagged.expiry is None
    assert (tagged.id, tagged.ipv4, tagged.label) == (first.id, first.ipv4, first.label)
    assert (tagged.user, tagged.tags) == (TAGGED_USER, ("tag:server",))
    again = approve(world, pend(world, "laptop3", on="laptop", old_node_key=node_key("laptop2")))
    assert (again.id, again.user, again.tags) == (first.id, world.alice.id, ())
    assert len(world.registry.nodes) == 1


def test_a_client_can_ask_for_a_shorter_time_and_not_for_a_longer_one() -> None:
    world = World(key_lifetime=1000)
    world.answer("short", world.key(), expiry=at(world.wall + 10))
    world.answer("long", world.key(), expiry=at(world.wall + 9999))
    assert world.node("short").expiry == world.wall + 10
    assert world.node("long").expiry == world.wall + 1000


# --- other machines' keys --------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_key", [True, False])
def test_another_machines_node_key_is_refused_and_its_owner_unharmed(with_key: bool) -> None:
    world = World()
    node = world.join("laptop")
    assert "another machine" in refusal(world, "laptop", world.key() if with_key else None, on="thief")
    assert world.node("laptop") == node


def test_a_node_key_stays_its_machines_after_the_node_is_deleted() -> None:
    world = World()
    node = world.join("laptop")
    world.commit(world.registry.delete_node(node, WallTime(world.wall)))
    assert "another machine" in refusal(world, "laptop", world.key(), on="thief")
    assert world.answer("laptop", world.key()).error == ""
    assert world.node("laptop").id != node.id


def test_a_key_that_was_rotated_away_stays_its_machines() -> None:
    world = World()
    world.join("laptop")
    world.answer("laptop2", world.key(), on="laptop", old_node_key=node_key("laptop"))
    assert "another machine" in refusal(world, "laptop", world.key(), on="thief")


def test_naming_another_machines_key_as_the_old_one_takes_nothing() -> None:
    world = World()
    victim = world.join("laptop")
    world.answer("new", world.key(), on="thief", old_node_key=node_key("laptop"))
    assert world.node("new", on="thief").id != victim.id
    assert world.node("laptop") == victim


def test_a_thief_cannot_log_the_victim_out() -> None:
    world = World()
    node = world.join("laptop")
    assert world.answer("laptop", on="thief", expiry=LOGOUT).error == ""
    assert world.node("laptop") == node


def test_one_node_key_is_never_two_nodes_of_one_machine() -> None:
    """The key joins by a pre-auth key of alice's while a login with it still waits for somebody's word."""
    world = World()
    world.user("bob")
    url = pend(world)
    outcome = world.ask("laptop", world.key())
    assert isinstance(outcome, Reply)
    world.commit(outcome.rows)
    with pytest.raises(Refused, match="another owner"):
        approve(world, url, "bob")
    assert world.node("laptop").user == world.alice.id


def test_one_machine_makes_no_more_nodes_than_allowed() -> None:
    world = World()
    for number in range(limits.MAX_NODES_PER_MACHINE):
        world.answer(f"n{number}", world.key(world.user(f"u{number}")), on="laptop")
    assert "too many nodes" in refusal(world, "one-more", world.key(), on="laptop")


# --- logout ----------------------------------------------------------------------------------------------------


def test_a_logout_expires_the_node_even_when_it_repeats_its_key() -> None:
    world = World()
    key = world.key(reusable=True)
    world.answer("laptop", key)
    response = world.answer("laptop", key, expiry=LOGOUT)
    assert (response.error, response.auth_url) == ("", "")
    assert world.node("laptop").expiry == world.wall
    assert world.answer("laptop", key).node_key_expired


def test_logging_out_again_writes_nothing() -> None:
    world = World()
    world.join("laptop")
    world.answer("laptop", expiry=LOGOUT)
    outcome = world.ask("laptop", expiry=LOGOUT)
    assert isinstance(outcome, Reply)
    assert (outcome.rows, outcome.response.error) == ((), "")


def test_a_logout_deletes_an_ephemeral_node() -> None:
    world = World()
    world.join("job", ephemeral=True)
    world.answer("job", expiry=LOGOUT)
    assert world.registry.nodes == {}


# --- interactive -----------------------------------------------------------------------------------------------


def pend(world: World, name: str = "laptop", **members: object) -> str:
    url = world.answer(name, **members).auth_url
    assert url.startswith("https://vpn.example.com/register/")
    return url


def approve(world: World, url: str, user: str = "alice") -> Node:
    login = url.rpartition("/")[2]
    node, rows = world.desk.approve(login, world.registry.user_named(user), WallTime(world.wall), "admin")
    world.commit(rows)
    world.pending.finish(login)
    return node


def test_a_login_without_a_key_gets_a_url_then_waits_and_is_let_in() -> None:
    world = World()
    url = pend(world)
    assert world.ask("laptop", followup=url) == Hold(url.rpartition("/")[2])
    approve(world, url)
    response = world.answer("laptop", followup=url)
    assert (response.auth_url, response.machine_authorized) == ("", True)
    assert world.node("laptop").user == world.alice.id


def test_an_approval_nobody_waits_for_counts_at_the_next_request() -> None:
    world = World()
    approve(world, pend(world))
    assert world.answer("laptop").machine_authorized


def test_a_followup_nobody_knows_gets_another_url() -> None:
    world = World()
    lost = "https://vpn.example.com/register/00112233445566778899aabb"
    url = world.answer("laptop", followup=lost).auth_url
    assert url
    assert url != lost


def test_a_thief_with_the_victims_node_key_cannot_wait_for_its_login() -> None:
    world = World()
    url = pend(world)
    outcome = world.ask("laptop", on="thief", followup=url)
    assert isinstance(outcome, Reply)
    assert outcome.response.auth_url != url


def test_an_expired_node_that_follows_up_is_let_wait_and_not_sent_for_another_key() -> None:
    world = World()
    node = world.join("laptop")
    world.commit(world.registry.expire_node(node, WallTime(world.wall)))
    url = world.answer("laptop", followup="https://vpn.example.com/register/gone").auth_url
    assert world.ask("laptop", followup=url) == Hold(url.rpartition("/")[2])
    assert approve(world, url).id == node.id
    assert world.answer("laptop", followup=url).machine_authorized


def test_a_login_that_nobody_approves_in_time_gets_another_url() -> None:
    world = World()
    url = pend(world)
    world.pass_time(limits.PENDING_LIFETIME)
    assert world.pending.tick(Instant(world.now)) == [url.rpartition("/")[2]]
    again = world.answer("laptop", followup=url).auth_url
    assert again
    assert again != url


def test_asking_again_gives_the_same_url() -> None:
    world = World()
    assert pend(world) == pend(world)
    assert len(world.pending) == 1


def test_a_stranger_cannot_wait_for_another_machines_login() -> None:
    world = World()
    url = pend(world)
    outcome = world.ask("other", followup=url)
    assert isinstance(outcome, Reply)
    assert outcome.response.auth_url != url


def test_the_oldest_pending_login_makes_room_and_its_waiter_is_told() -> None:
    world = World()
    first = pend(world, "n0").rpartition("/")[2]
    for number in range(1, limits.MAX_PENDING_LOGINS):
        pend(world, f"n{number}")
    outcome = world.ask("one-more")
    assert isinstance(outcome, Reply)
    assert outcome.ousted == (first,)
    assert len(world.pending) == limits.MAX_PENDING_LOGINS


def test_a_flood_of_logins_from_one_source_pushes_out_its_own() -> None:
    world = World()
    honest = world.answer("laptop", source="198.51.100.7").auth_url
    for number in range(limits.MAX_PENDING_LOGINS + 5):
        pend(world, f"n{number}")
    assert approve(world, honest).hostname == "laptop"
    assert len(world.pending) == limits.MAX_PENDING_LOGINS - 1


def test_a_login_that_asks_for_other_tags_is_not_the_one_an_admin_looked_at() -> None:
    world = World(tags_allowed=True)
    plain = pend(world)
    tagged = pend(world, hostinfo={"Hostname": "laptop", "RequestTags": ["tag:server"]})
    assert plain != tagged
    with pytest.raises(Refused, match="is waiting"):
        approve(world, plain)
    assert approve(world, tagged).tags == ("tag:server",)


def test_a_login_that_came_in_by_a_key_waits_for_nobody_any_more() -> None:
    world = World()
    pend(world)
    world.answer("laptop", world.key())
    assert len(world.pending) == 0


def test_reauthentication_keeps_the_old_key_valid_until_it_is_approved() -> None:
    world = World()
    node = world.join("laptop")
    url = pend(world, "laptop2", on="laptop", old_node_key=node_key("laptop"))
    assert world.node("laptop") == node
    assert approve(world, url).id == node.id
    assert world.registry.node_of(node_key("laptop"), machine("laptop")) is None


def test_a_login_that_is_written_late_brings_back_no_old_endpoints() -> None:
    world = World()
    node = world.join("laptop")
    outcome = world.ask("laptop2", world.key(), on="laptop", old_node_key=node_key("laptop"))
    assert isinstance(outcome, Reply)
    world.update(node, endpoints=["192.0.2.9:41641"])  # comes while the database writes
    world.commit(outcome.rows)
    assert world.registry.status[node.id].endpoints == ("192.0.2.9:41641",)


def test_requested_tags_need_an_owner() -> None:
    world = World()
    url = pend(world, hostinfo={"Hostname": "db", "RequestTags": ["tag:server"]})
    with pytest.raises(Refused, match="tagOwners"):
        approve(world, url)
    world.tags_allowed = True
    node = approve(world, url)
    assert (node.tags, node.user) == (("tag:server",), TAGGED_USER)


def test_a_second_approval_is_refused() -> None:
    world = World()
    url = pend(world)
    approve(world, url)
    with pytest.raises(Refused, match="is waiting"):
        approve(world, url)


# --- bad requests ----------------------------------------------------------------------------------------------


def test_an_old_client_is_told_which_version_is_needed() -> None:
    outcome = World().ask("laptop", version=limits.MIN_CAPABILITY - 1)
    assert isinstance(outcome, BadRequest)
    assert str(limits.MIN_CAPABILITY) in outcome.text


def test_a_request_without_a_node_key_is_bad() -> None:
    world = World()
    world_key = NodeKey(bytes(32))
    from ginnel.wire.tailcfg import RegisterRequest

    request = RegisterRequest(version=130, node_key=world_key)
    outcome = world.desk.decide(request, Caller(machine("laptop"), "192.0.2.1"), Instant(0.0), WallTime(1.0))
    assert isinstance(outcome, BadRequest)


def test_a_poisoned_hostinfo_is_no_reason_to_refuse() -> None:
    world = World()
    poisoned = {"Hostname": 'a"b\\c\x00\u2028', "OS": 7, "Services": "x", "RoutableIPs": ["10.0.0.1/8", "10.0.0.0/8"]}
    assert world.answer("laptop", world.key(), hostinfo=poisoned).error == ""
    status = world.registry.status[world.node("laptop").id]
    assert status.hostinfo == {"Hostname": "abc", "RoutableIPs": ["10.0.0.0/8"]}


def test_a_login_spends_its_key_in_the_rows_that_make_the_node() -> None:
    world = World()
    outcome = world.ask("laptop", world.key())
    assert isinstance(outcome, Reply)
    assert {Spend, Node} <= {type(row) for row in outcome.rows}
