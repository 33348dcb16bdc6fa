"""Map streams: the rules of what goes into a frame, and that frames add up to the map."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ginnel.core.control import limits
from ginnel.core.control.policy import DENY_ALL, NO_POLICY, Policy, parse_policy
from ginnel.core.control.records import Node
from ginnel.core.firewall.told import Told
from ginnel.words import Instant, WallTime
from tests.core.control.control_world import Screen, World, disco, machine, node_key, state_of

TAGGED = parse_policy("""{
    "groups": {"group:eng": ["alice@", "bob@"]},
    "tagOwners": {"tag:server": ["alice@"]},
    "acls": [
        {"action": "accept", "src": ["group:eng"], "dst": ["tag:server:22"]},
        {"action": "accept", "src": ["carol@"], "dst": ["autogroup:self:*"]},
    ],
    "nodeAttrs": [{"target": ["group:eng"], "attr": ["funnel"]}],
}""")
SELF_ONLY = parse_policy('{"acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}]}')
ATTRIBUTES = parse_policy("""{
    "tagOwners": {"tag:server": ["alice@"]},
    "nodeAttrs": [{"target": ["tag:server", "carol@"], "attr": ["funnel", "disable-hard-nat-probing"]}],
    "randomizeClientPort": true,
}""")
POLICIES = [NO_POLICY, TAGGED, SELF_ONLY, DENY_ALL, ATTRIBUTES]


def pair(world: World) -> tuple[Node, Node, Screen]:
    """Two nodes; the first one's stream is open and settled."""
    a, b = world.join("a"), world.join("b")
    for node in (a, b):
        world.update(node, disco_key=disco(str(node.id)), hostinfo={"Hostname": "x", "NetInfo": {"PreferredDERP": 1}})
    world.settle()
    screen = world.open(a)
    world.settle()
    return a, b, screen


def since(screen: Screen, frames: int) -> list[dict[str, Any]]:
    return screen.frames[frames:]


def test_the_first_frame_holds_all_that_a_client_needs() -> None:
    world = World()
    _, _, screen = pair(world)
    first = screen.frames[0]
    expected = {"Node", "DERPMap", "Peers", "DNSConfig", "Domain", "CollectServices", "PacketFilters", "UserProfiles"}
    assert first.keys() == expected | {"ControlTime", "Debug"}
    assert first["Node"]["MachineAuthorized"] is True
    assert first["Node"]["Name"] == "a.mesh.internal."
    assert first["Node"]["CapMap"]["default-auto-update"] == [False]
    assert [peer["Name"] for peer in first["Peers"]] == ["b.mesh.internal."]
    assert "CapMap" not in first["Peers"][0]
    assert first["Peers"][0]["Addresses"] == ["100.64.0.2/32", "fd7a:115c:a1e0::2/128"]


@pytest.mark.parametrize(
    ("version", "told"), [("1.98.9-tdeadbeef", ["disable-captive-portal-detection"]), ("0.1.0-ginnel", [])]
)
def test_a_vendors_client_is_told_not_to_ask_its_vendor_about_portals(version: str, told: list[str]) -> None:
    world = World()
    a, b, _ = pair(world)
    world.update(a, hostinfo={"Hostname": "x", "IPNVersion": version})
    assert sorted(world.open(a).frames[0]["Node"]["CapMap"]) == ["default-auto-update", *told]
    assert "CapMap" not in world.open(b).frames[0]["Peers"][0]


def test_a_node_alone_is_given_no_peers_member_at_all() -> None:
    world = World()
    assert "Peers" not in world.open(world.join("a")).frames[0]


def test_home_goes_first_and_endpoints_in_a_frame_right_behind() -> None:
    world = World()
    _, b, screen = pair(world)
    seen = len(screen.frames)
    world.update(b, endpoints=["198.51.100.7:41641"], hostinfo={"Hostname": "x", "NetInfo": {"PreferredDERP": 2}})
    world.settle()
    assert since(screen, seen) == [
        {"PeersChangedPatch": [{"NodeID": b.id, "DERPRegion": 2}]},
        {"PeersChangedPatch": [{"NodeID": b.id, "Endpoints": ["198.51.100.7:41641"]}]},
    ]


def test_both_are_parted_in_a_whole_entry_too() -> None:
    world = World()
    _, b, screen = pair(world)
    seen = len(screen.frames)
    hostinfo = {"Hostname": "x", "OS": "plan9", "NetInfo": {"PreferredDERP": 2}}
    world.update(b, endpoints=["198.51.100.7:41641"], hostinfo=hostinfo)
    world.settle()
    first, second = since(screen, seen)
    assert first["PeersChanged"][0]["HomeDERP"] == 2
    assert "Endpoints" not in first["PeersChanged"][0]
    assert second == {"PeersChangedPatch": [{"NodeID": b.id, "Endpoints": ["198.51.100.7:41641"]}]}


def test_the_first_disco_key_comes_with_the_whole_peer_and_a_later_one_as_a_patch() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    screen = world.open(a)
    world.settle()
    seen = len(screen.frames)
    world.update(b, disco_key=disco("1"))
    world.settle()
    assert since(screen, seen)[0]["PeersChanged"][0]["DiscoKey"] == str(disco("1"))
    world.update(b, disco_key=disco("2"))
    world.settle()
    assert since(screen, seen)[1] == {"PeersChangedPatch": [{"NodeID": b.id, "DiscoKey": str(disco("2"))}]}


def test_coming_and_going_are_patches() -> None:
    world = World()
    _, b, screen = pair(world)
    seen = len(screen.frames)
    theirs = world.open(b)
    world.settle()
    world.close(theirs)
    world.pass_time(limits.OFFLINE_GRACE)
    for node_id in world.presence.went_offline(Instant(world.now)):
        world.mapper.changed(node_id, Instant(world.now), WallTime(world.wall))
    world.settle()
    patches = [frame["PeersChangedPatch"] for frame in since(screen, seen)]
    assert patches == [[{"NodeID": b.id, "Online": True}], [{"NodeID": b.id, "Online": False}]]


def test_an_old_stream_cannot_take_a_node_offline() -> None:
    world = World()
    a, _, old = pair(world)
    new = world.open(a)
    assert world.ended == [old.stream]
    world.close(old)
    world.pass_time(limits.OFFLINE_GRACE + 1)
    assert world.presence.went_offline(Instant(world.now)) == []
    world.close(new)
    world.pass_time(limits.OFFLINE_GRACE)
    assert world.presence.went_offline(Instant(world.now)) == [a.id]


def test_a_stream_that_comes_back_within_the_grace_stays_online() -> None:
    world = World()
    a, _, screen = pair(world)
    world.close(screen)
    world.pass_time(limits.OFFLINE_GRACE - 1)
    world.open(a)
    world.pass_time(limits.OFFLINE_GRACE)
    assert world.presence.went_offline(Instant(world.now)) == []


def test_nobody_hears_of_a_peer_whom_the_policy_hides() -> None:
    world = World(policy=SELF_ONLY)
    bob = world.user("bob")
    screen = world.open(world.join("a"))
    world.settle()
    seen = len(screen.frames)
    hidden = world.join("b", bob)
    theirs = world.open(hidden)
    world.update(hidden, endpoints=["198.51.100.7:41641"], disco_key=disco("b"))
    world.settle()
    world.close(theirs)
    world.commit(world.registry.rename_user("bob", "robert"))
    world.commit(world.registry.delete_node(hidden, WallTime(world.wall)))
    world.settle()
    assert since(screen, seen) == []
    assert bob.id not in screen.profiles


def test_who_comes_later_hears_nothing_of_users_who_are_gone() -> None:
    """A cohort remembers whose profiles it was sent; a stream that opens with it was sent none."""
    world = World()
    bob = world.user("bob")
    early, late = world.join("early"), world.join("late")
    world.open(early)
    gone = world.join("gone", bob)
    world.settle()
    world.commit(world.registry.delete_node(gone, WallTime(world.wall)))
    world.settle()
    assert bob.id not in world.open(late).profiles


def test_the_new_name_of_a_user_who_was_hidden_is_told_to_nobody() -> None:
    world = World()
    bob = world.user("bob")
    screen = world.open(world.join("a"))
    theirs = world.join("b", bob)
    world.settle()
    world.mapper.policy_replaced(SELF_ONLY, Instant(world.now))
    world.settle()
    assert screen.peers == {}
    world.commit(world.registry.rename_user("bob", "robert"))
    world.settle()
    assert screen.profiles[bob.id]["LoginName"] == "bob"
    world.mapper.policy_replaced(NO_POLICY, Instant(world.now))
    world.settle()
    assert (screen.names(), screen.profiles[theirs.user]["LoginName"]) == (["b"], "robert")


def test_a_user_alone_hears_of_its_own_new_name() -> None:
    world = World(policy=DENY_ALL)
    screen = world.open(world.join("a"))
    world.settle()
    world.commit(world.registry.rename_user("alice", "alicia"))
    world.settle()
    assert screen.profiles[world.alice.id]["LoginName"] == "alicia"


def test_attributes_of_the_policy_are_told_to_the_nodes_that_it_names_and_taken_back() -> None:
    world = World()
    _, _, screen = pair(world)
    theirs = world.open(world.join("c", world.user("carol")))
    world.settle()
    before, seen = set(screen.node["CapMap"]), len(screen.frames)
    world.mapper.policy_replaced(ATTRIBUTES, Instant(world.now))
    world.settle()
    assert set(screen.node["CapMap"]) - before == {"randomize-client-port"}
    assert set(theirs.node["CapMap"]) - before == {"randomize-client-port", "funnel", "disable-hard-nat-probing"}
    assert theirs.node["CapMap"]["funnel"] is None
    world.mapper.policy_replaced(NO_POLICY, Instant(world.now))
    world.settle()
    assert set(screen.node["CapMap"]) == set(theirs.node["CapMap"]) == before
    assert len(since(screen, seen)) == 2, "a node is told itself only where its attributes differ"


def test_every_node_hears_where_firewalls_find_the_relays_names_and_the_log_hosts() -> None:
    world = World()
    world.mapper.views.told = Told("relays.example.com", ("log.example.com",))
    _, _, screen = pair(world)
    assert screen.node["CapMap"]["ginnel/relay-zone"] == ["relays.example.com"]
    assert screen.node["CapMap"]["ginnel/log-hosts"] == ["log.example.com"]


def test_an_isolating_policy_removes_peers_by_name() -> None:
    world = World()
    _, b, screen = pair(world)
    seen = len(screen.frames)
    world.mapper.policy_replaced(DENY_ALL, Instant(world.now))
    world.settle()
    assert since(screen, seen) == [{"PeersRemoved": [b.id]}, {"PacketFilters": {"base": []}}]


def test_an_expired_node_is_shown_nobody_and_comes_back_without_a_login() -> None:
    world = World()
    a, _, screen = pair(world)
    world.commit(world.registry.expire_node(a, WallTime(world.wall)))
    world.settle()
    assert (screen.peers, screen.filters) == ({}, {"base": []})
    assert screen.node["KeyExpiry"].startswith("2027")
    assert "Peers" not in world.open(world.registry.nodes[a.id]).frames[0]
    world.commit([replace(world.registry.nodes[a.id], expiry=None)])
    world.settle()
    assert world.screens[world.mapper.streams[a.id]].names() == ["b"]


def test_an_expired_node_hears_nothing_of_what_the_others_do() -> None:
    world = World()
    a, b, screen = pair(world)
    world.commit(world.registry.expire_node(a, WallTime(world.wall)))
    world.settle()
    seen = len(screen.frames)
    world.update(b, endpoints=["198.51.100.7:41641"])
    world.join("c")
    world.settle()
    assert since(screen, seen) == []


def test_a_deleted_nodes_stream_ends_with_a_word_that_makes_it_log_in() -> None:
    world = World()
    a, _, screen = pair(world)
    world.commit(world.registry.delete_node(a, WallTime(world.wall)))
    assert screen.node["KeyExpiry"].startswith("1970")
    assert world.ended == [screen.stream]


def test_a_rotated_key_ends_the_streams_of_the_old_one() -> None:
    world = World()
    _, _, screen = pair(world)
    world.answer("a2", world.key(), on="a", old_node_key=node_key("a"))
    assert world.ended == [screen.stream]


def test_an_expiry_beyond_the_calendar_costs_nobody_the_map() -> None:
    world = World()
    _, _, screen = pair(world)
    beyond = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-12)))
    assert world.answer("poison", world.key(), expiry=beyond).error == ""
    world.settle()
    assert screen.names() == ["b", "poison"]
    assert world.open(world.node("poison")).node["KeyExpiry"].startswith("9999-")


def test_its_own_endpoints_are_not_worth_a_self_update() -> None:
    world = World()
    a, _, screen = pair(world)
    seen = len(screen.frames)
    world.update(a, endpoints=["198.51.100.7:41641"], disco_key=disco("new"))
    world.settle()
    assert since(screen, seen) == []


def test_its_own_name_is_told_at_once() -> None:
    world = World()
    a, _, screen = pair(world)
    world.commit(world.registry.set_label(a, "tower"))
    world.settle()
    assert screen.node["Name"] == "tower.mesh.internal."


def test_a_join_refilters_those_whom_it_may_reach() -> None:
    world = World(policy=TAGGED)
    screen = world.open(world.join("db", tags=("tag:server",)))
    world.settle()
    assert screen.filters == {"base": []}
    world.join("laptop")
    world.settle()
    assert "100.64.0.2" in str(screen.filters["base"])


def test_a_profile_that_only_some_were_sent_is_sent_to_the_others_when_they_need_it() -> None:
    world = World()
    bob = world.user("bob")
    early = world.open(world.join("early"))
    gone = world.join("gone", bob)
    world.settle()
    world.commit(world.registry.delete_node(gone, WallTime(world.wall)))
    late = world.open(world.join("late"))
    world.settle()
    assert (bob.id in early.profiles, bob.id in late.profiles) == (True, False)
    world.join("again", bob)
    world.settle()
    assert late.names() == ["again", "early"]


def test_a_burst_of_joins_makes_few_frames() -> None:
    world = World()
    _, _, screen = pair(world)
    seen = len(screen.frames)
    for number in range(50):
        world.join(f"n{number}")
        world.now += 0.001
        if (due := world.mapper.next_timeout()) is not None and world.now >= due:
            world.perform(world.mapper.tick(Instant(world.now)))
    world.settle()
    assert len(screen.peers) == 51
    assert len(since(screen, seen)) <= 2


def test_those_who_see_the_same_share_the_same_bytes() -> None:
    world = World()
    nodes = [world.join(f"n{number}") for number in range(5)]
    for node in nodes[:4]:
        world.open(node)
    world.settle()
    world.update(nodes[4], disco_key=disco("x"))
    due = world.mapper.next_timeout()
    assert due is not None
    sent = world.mapper.tick(Instant(due))
    assert len(sent) == 4
    assert len({id(action.data) for action in sent}) == 1  # type: ignore[union-attr]


def test_silence_is_broken_by_the_one_keep_alive() -> None:
    world = World()
    _, _, screen = pair(world)
    world.pass_time(limits.KEEP_ALIVE - 1)
    assert world.mapper.keep_alives(Instant(world.now)) == []
    world.pass_time(1)
    world.perform(world.mapper.keep_alives(Instant(world.now)))
    assert screen.frames[-1] == {"KeepAlive": True}
    assert world.mapper.keep_alives(Instant(world.now)) == []


def test_a_frame_puts_the_keep_alive_off() -> None:
    world = World()
    _, b, _ = pair(world)
    world.pass_time(limits.KEEP_ALIVE - 1)
    world.update(b, endpoints=["198.51.100.7:41641"])
    world.settle()
    world.pass_time(limits.KEEP_ALIVE - 1)
    assert world.mapper.keep_alives(Instant(world.now)) == []


def test_when_a_peer_was_last_seen_is_told_while_it_is_gone_alone() -> None:
    """Clients are confused by it in a peer that is online."""
    world = World()
    a, b = world.join("a"), world.join("b")
    world.commit([replace(world.registry.status[b.id], last_seen=WallTime(world.wall))])
    (gone,) = world.open(a).peers.values()
    world.open(b)
    world.settle()
    (here,) = world.open(a).peers.values()
    assert ("LastSeen" in gone, "LastSeen" in here) == (True, False)


def test_zstd_streams_read_the_same() -> None:
    world = World()
    _, b, plain = pair(world)
    packed = world.open(b, "zstd")
    world.settle()
    assert packed.names() == ["a"]
    assert plain.names() == ["b"]


def test_another_derp_map_is_told_to_all() -> None:
    world = World()
    _, _, screen = pair(world)
    seen = len(screen.frames)
    world.mapper.surroundings_replaced(
        replace(world.mapper.surroundings, derp_map=b'{"Regions":null}'), Instant(world.now)
    )
    world.settle()
    assert since(screen, seen) == [{"DERPMap": {"Regions": None}}]


def test_own_endpoints_on_loopback_and_links_never_reach_peers() -> None:
    world = World()
    _, b, screen = pair(world)
    bad = [
        "127.0.0.1:1",
        "169.254.1.1:1",
        "[fe80::1]:1",
        "[::1]:1",
        "0.0.0.0:1",
        "224.0.0.1:1",
        "[fd7a:115c:a1e0::1]:1",
    ]
    world.update(b, endpoints=[*bad, "nonsense", "[fe80::1%eth0]:5", "192.0.2.1:0", "192.0.2.1:7", "192.0.2.1:7"])
    world.settle()
    assert screen.peers[b.id]["Endpoints"] == ["192.0.2.1:7"]


# --- the invariant ---------------------------------------------------------------------------------------------

NODES = 7
USERS = ("alice", "bob", "carol")
STEPS = (
    *("join", "join", "join", "open", "open", "leave", "close", "endpoints", "home", "disco", "hostinfo"),
    *("rename", "expire", "renew", "policy", "rotate", "user", "flush", "flush", "later", "offline"),
)
histories = st.lists(
    st.tuples(st.sampled_from(STEPS), st.integers(0, NODES - 1), st.integers(0, 3)), min_size=1, max_size=60
)


@settings(max_examples=300, deadline=None)
@given(histories, st.sampled_from(POLICIES))
def test_streamed_state_equals_the_map_from_scratch(history: list[tuple[str, int, int]], policy: Policy) -> None:
    world = World(policy=policy)
    for name in USERS[1:]:
        world.user(name)
    life = Life(world)
    for step, which, value in history:
        getattr(life, step)(which, value)
    world.settle()
    for node_id, stream in world.mapper.streams.items():
        screen = world.screens[stream]
        whole = world.scratch(node_id)
        assert screen.state() == state_of(whole)
        for profile in whole["UserProfiles"]:
            assert screen.profiles[profile["ID"]] == profile


class Life:
    """Seven machines and what happens to them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.names: dict[int, str] = {}
        self.counter = 0

    def node(self, which: int) -> Node | None:
        name = self.names.get(which)
        return self.world.registry.node_of(node_key(name), machine(f"m{which}")) if name else None

    def fresh(self) -> str:
        self.counter += 1
        return f"k{self.counter}"

    def join(self, which: int, value: int) -> None:
        if self.node(which) is None:
            self.names[which] = name = self.fresh()
            tags = {"tags": ("tag:server",)} if value == 3 else {}
            user = None if tags else self.world.registry.user_named(USERS[value])
            self.world.answer(name, self.world.key(user, **tags), on=f"m{which}")

    def leave(self, which: int, value: int) -> None:
        if (node := self.node(which)) is not None:
            self.world.commit(self.world.registry.delete_node(node, WallTime(self.world.wall)))

    def open(self, which: int, value: int) -> None:
        if (node := self.node(which)) is not None:
            self.world.open(node, "zstd" if value % 2 else "")

    def close(self, which: int, value: int) -> None:
        node = self.node(which)
        if node is not None and (stream := self.world.mapper.streams.get(node.id)) is not None:
            self.world.mapper.close(stream, Instant(self.world.now))

    def _update(self, which: int, **members: Any) -> None:
        if (node := self.node(which)) is not None:
            self.world.update(node, **members)

    def endpoints(self, which: int, value: int) -> None:
        self._update(which, endpoints=[f"198.51.100.{n}:41641" for n in range(value)])

    def home(self, which: int, value: int) -> None:
        self._update(which, hostinfo={"Hostname": f"h{which}", "NetInfo": {"PreferredDERP": value}})

    def disco(self, which: int, value: int) -> None:
        self._update(which, disco_key=disco(str(value)))

    def hostinfo(self, which: int, value: int) -> None:
        self._update(which, hostinfo={"Hostname": f"h{which}", "OS": f"os{value}"})

    def rename(self, which: int, value: int) -> None:
        if (node := self.node(which)) is not None:
            self.world.commit(self.world.registry.set_label(node, f"name-{node.id}-{value}"))

    def _replace(self, which: int, **members: Any) -> None:
        if (node := self.node(which)) is not None:
            self.world.commit([replace(node, **members)])

    def expire(self, which: int, value: int) -> None:
        self._replace(which, expiry=WallTime(self.world.wall - value))

    def renew(self, which: int, value: int) -> None:
        self._replace(which, expiry=WallTime(self.world.wall + 1e6) if value else None)

    def policy(self, which: int, value: int) -> None:
        self.world.mapper.policy_replaced(POLICIES[value], Instant(self.world.now))

    def rotate(self, which: int, value: int) -> None:
        node = self.node(which)
        if node is not None and not node.tags:
            user = self.world.registry.users[node.user]
            self.names[which] = name = self.fresh()
            self.world.answer(name, self.world.key(user), on=f"m{which}", old_node_key=node.key)

    def user(self, which: int, value: int) -> None:
        """Somebody has another name for a moment."""
        name = USERS[value % 3]
        self.world.commit(self.world.registry.rename_user(name, name + "x"))
        self.world.commit(self.world.registry.rename_user(name + "x", name))

    def flush(self, which: int, value: int) -> None:
        self.world.settle()

    def later(self, which: int, value: int) -> None:
        self.world.pass_time(value * 0.1)

    def offline(self, which: int, value: int) -> None:
        self.world.pass_time(limits.OFFLINE_GRACE)
        for node_id in self.world.presence.went_offline(Instant(self.world.now)):
            self.world.mapper.changed(node_id, Instant(self.world.now), WallTime(self.world.wall))


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_of_the_invariant_is_reached(policy: Policy) -> None:
    """A guard for the test above: with the deny policy nobody is seen, with the others somebody is."""
    world = World(policy=policy)
    bob, carol = world.user("bob"), world.user("carol")
    nodes = [world.join("a"), world.join("b", bob), world.join("c", carol), world.join("c2", carol)]
    nodes.append(world.join("s", tags=("tag:server",)))
    screens = [world.open(node) for node in nodes]
    world.settle()
    assert any(screen.peers for screen in screens) == (policy is not DENY_ALL)
