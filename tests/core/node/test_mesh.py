"""Two cores, no network: what one says is handed to the other or forged by the test."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.node import actions as act
from ginnel.core.node.constants import PING_TIMEOUT
from ginnel.core.node.endpoints import LocalAddress
from ginnel.core.node.mesh import Mesh
from ginnel.core.node.netmap import NetMap, apply_frame, first_frame
from ginnel.core.node.path_policy import PathPolicies, PathPolicy
from ginnel.wire import disco
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion, FilterRule, MapResponse, NetPortRange, Node, PeerChange
from ginnel.words import DiscoPrivate, Endpoint, Instant, NodePrivate, RegionId, WallTime
from tests.core.node.ticks import ticks

WALL = WallTime(1_800_000_000.0)
T0 = Instant(1000.0)
REGION = RegionId(1)
DERP_MAP = DERPMap(
    regions={1: DERPRegion(1, "nyc", "New York", nodes=[DERPNode("1a", 1, "relay.example", ipv4="203.0.113.1")])}
)
BOB_AT, ELSEWHERE = Endpoint.parse("192.0.2.2:41641"), Endpoint.parse("198.51.100.9:9")


@dataclass
class Party:
    number: int
    seed: int
    key: NodePrivate = field(init=False)
    disco: DiscoPrivate = field(init=False)

    def __post_init__(self) -> None:
        random = Random(self.seed)
        self.key = NodePrivate(random.randbytes(32))
        self.disco = DiscoPrivate(random.randbytes(32))

    def node(self, **members: object) -> Node:
        return Node(
            id=self.number,
            stable_id=f"n{self.number}",
            name=f"n{self.number}.",
            user=1,
            key=self.key.public(),
            addresses=[f"100.64.0.{self.number}/32"],
            disco_key=self.disco.public(),
            **{"home_derp": 1, **members},  # type: ignore[arg-type]
        )

    def seal(self, to: Party, message: disco.Message) -> bytes:
        return disco.DiscoBox(self.disco, to.disco.public()).seal(message, bytes(24))

    def open(self, sender: Party, packet: bytes) -> disco.Message:
        return disco.DiscoBox(self.disco, sender.disco.public()).open(packet)


ALICE, BOB, EVE = Party(1, 1), Party(2, 2), Party(3, 3)


@dataclass
class Member:
    mesh: Mesh
    netmap: NetMap
    first: list[act.Action]

    def frame(self, now: Instant = T0, **members: object) -> list[act.Action]:
        self.netmap, change = apply_frame(self.netmap, MapResponse(**members), WALL)  # type: ignore[arg-type]
        return self.mesh.map_changed(self.netmap, change, now)


def alice(*peers: Node) -> Member:
    mesh = Mesh(ALICE.disco, Random(9).randbytes)
    mesh.interfaces_changed([LocalAddress("eth0", IPv4Interface("10.0.0.1/24"))], T0)
    mesh.port_bound(41641, 0, 41641, T0)
    mesh.set_node_key(ALICE.key, T0)
    frame = MapResponse(
        node=ALICE.node(),
        derp_map=DERP_MAP,
        peers=list(peers) or [BOB.node(endpoints=[str(BOB_AT)])],
        packet_filters={"base": [FilterRule(src_ips=["*"], dst_ports=[NetPortRange("*")])]},
    )
    netmap, change = first_frame(NetMap(), frame, WALL)
    return Member(mesh, netmap, mesh.map_changed(netmap, change, T0))


def udp(actions: list[act.Action]) -> list[act.SendUdp]:
    return [action for action in actions if isinstance(action, act.SendUdp)]


def steers(actions: list[act.Action]) -> list[act.Steer]:
    return [action for action in actions if isinstance(action, act.Steer)]


def made_direct(member: Member, now: Instant = T0) -> bytes:
    """Alice sends, Bob answers her ping; returns Bob's pong."""
    ping = next(s for s in udp(member.mesh.sent(BOB.key.public(), now)) if s.to == BOB_AT)
    message = BOB.open(ALICE, ping.packet)
    assert isinstance(message, disco.Ping)
    pong = BOB.seal(ALICE, disco.Pong(message.tx_id, ELSEWHERE))
    actions = member.mesh.disco_received(BOB_AT, pong, Instant(now + 0.03))
    assert steers(actions) == [act.Steer(BOB.key.public(), BOB_AT, REGION)]  # until large ones are known to pass
    actions = member.mesh.disco_received(BOB_AT, answered(udp(actions)[0]), Instant(now + 0.06))
    assert steers(actions) == [act.Steer(BOB.key.public(), BOB_AT, RegionId(0))]
    return pong


def answered(ping: act.SendUdp) -> bytes:
    """Bob's pong to Alice's ping."""
    message = BOB.open(ALICE, ping.packet)
    assert isinstance(message, disco.Ping)
    return BOB.seal(ALICE, disco.Pong(message.tx_id, ELSEWHERE))


def test_the_first_map_tells_the_pump_everything_and_dials_the_only_relay() -> None:
    actions = alice().first
    assert act.SetPeer(BOB.key.public(), ("100.64.0.2/32",)) in actions
    assert act.Steer(BOB.key.public(), None, REGION) in actions
    assert act.SetAddresses(("100.64.0.1/32",)) in actions
    assert act.RelayPrefer(REGION) in actions
    opened = act.RelayOpen(REGION, "relay.example", (Endpoint.parse("203.0.113.1:443"),), "name:relay.example")
    assert opened in actions
    assert len([a for a in actions if isinstance(a, act.SetFilter)]) == 1


def test_a_pong_makes_the_path_direct_and_status_says_so() -> None:
    member = alice()
    made_direct(member)
    status = member.mesh.peer_status(BOB.key.public(), Instant(T0 + 0.03))
    assert status is not None
    assert (status.cur_addr, status.relay, status.active) == (BOB_AT, "nyc", True)


def test_a_pong_counts_once_and_only_in_time() -> None:
    member = alice()
    pong = made_direct(member)
    assert member.mesh.disco_received(BOB_AT, pong, Instant(T0 + 1)) == []
    assert member.mesh.drops["disco.unasked_pong"] == 1
    late = alice()
    ping = udp(late.mesh.sent(BOB.key.public(), T0))[0]
    message = BOB.open(ALICE, ping.packet)
    assert isinstance(message, disco.Ping)
    answer = BOB.seal(ALICE, disco.Pong(message.tx_id, BOB_AT))
    late.mesh.disco_received(BOB_AT, answer, Instant(T0 + PING_TIMEOUT + 0.1))
    assert not late.mesh.peer_status(BOB.key.public(), Instant(T0 + 5.2)).cur_addr  # type: ignore[union-attr]


def test_a_pong_of_another_peer_does_not_answer_for_bob() -> None:
    member = alice(BOB.node(endpoints=[str(BOB_AT)]), EVE.node())
    message = BOB.open(ALICE, udp(member.mesh.sent(BOB.key.public(), T0))[0].packet)
    assert isinstance(message, disco.Ping)
    assert steers(member.mesh.disco_received(BOB_AT, EVE.seal(ALICE, disco.Pong(message.tx_id, BOB_AT)), T0)) == []
    assert member.mesh.drops["disco.unasked_pong"] == 1


def test_a_pong_from_elsewhere_proves_nothing_and_names_a_place_to_ask_at() -> None:
    member = alice()
    message = BOB.open(ALICE, udp(member.mesh.sent(BOB.key.public(), T0))[0].packet)
    assert isinstance(message, disco.Ping)
    pong = BOB.seal(ALICE, disco.Pong(message.tx_id, BOB_AT))
    actions = member.mesh.disco_received(ELSEWHERE, pong, T0)
    assert steers(actions) == []
    assert [s.to for s in udp(actions)] == [ELSEWHERE]
    assert member.mesh.drops["disco.pong_elsewhere"] == 1
    assert steers(member.mesh.disco_received(BOB_AT, pong, T0))[0].endpoint == BOB_AT


def test_a_ping_by_relay_begins_a_search() -> None:
    member = alice()
    member.mesh.relay_up(REGION, T0)
    member.mesh.port_bound(41641, 0, 0, T0)
    ping = BOB.seal(ALICE, disco.Ping(bytes(12), BOB.key.public()))
    actions = member.mesh.relayed_disco_received(REGION, BOB.key.public(), ping, T0)
    assert BOB_AT in [s.to for s in udp(actions)]
    again = member.mesh.relayed_disco_received(REGION, BOB.key.public(), ping, Instant(T0 + 1))
    assert udp(again) == []


def test_data_by_relay_begins_a_search() -> None:
    member = alice()
    assert BOB_AT in [s.to for s in udp(member.mesh.received(BOB.key.public(), REGION, T0))]


def test_a_ping_is_answered_with_a_pong_and_a_ping() -> None:
    member = alice()
    ping = BOB.seal(ALICE, disco.Ping(bytes(12), BOB.key.public()))
    answers = [BOB.open(ALICE, s.packet) for s in udp(member.mesh.disco_received(ELSEWHERE, ping, T0))]
    assert answers[0] == disco.Pong(bytes(12), ELSEWHERE)
    assert isinstance(answers[1], disco.Ping)


def test_a_ping_by_relay_is_answered_by_relay_with_the_address_that_stands_for_it() -> None:
    member = alice()
    ping = BOB.seal(ALICE, disco.Ping(bytes(12), BOB.key.public()))
    actions = member.mesh.relayed_disco_received(REGION, BOB.key.public(), ping, T0)
    sent = next(a for a in actions if isinstance(a, act.SendRelay))
    assert BOB.open(ALICE, sent.packet) == disco.Pong(bytes(12), Endpoint.parse("127.3.3.40:1"))


def test_strangers_get_no_answer_and_no_box_is_opened() -> None:
    member = alice()
    ping = EVE.seal(ALICE, disco.Ping(bytes(12), EVE.key.public()))
    assert member.mesh.disco_received(ELSEWHERE, ping, T0) == []
    assert member.mesh.drops["disco.unknown_sender"] == 1


def test_a_ping_that_claims_another_nodes_key_is_dropped() -> None:
    member = alice(BOB.node(), EVE.node())
    ping = EVE.seal(ALICE, disco.Ping(bytes(12), BOB.key.public()))
    assert member.mesh.disco_received(ELSEWHERE, ping, T0) == []
    assert member.mesh.drops["disco.wrong_node_key"] == 1


def test_a_disco_key_of_two_nodes_is_told_apart_by_the_pings_claim() -> None:
    twin = Party(4, 4)
    member = alice(BOB.node(), twin.node().__class__(**{**_members(twin.node()), "disco_key": BOB.disco.public()}))
    ping = BOB.seal(ALICE, disco.Ping(bytes(12), twin.key.public()))
    member.mesh.disco_received(ELSEWHERE, ping, T0)
    status = member.mesh.status(T0).peers
    assert status[twin.key.public()].candidates == (ELSEWHERE,)
    assert status[BOB.key.public()].candidates == ()


def _members(node: Node) -> dict[str, object]:
    return {name: getattr(node, name) for name in node.__struct_fields__}


def test_a_call_me_maybe_counts_only_by_relay_and_from_its_owner() -> None:
    member = alice(BOB.node(), EVE.node())
    call = BOB.seal(ALICE, disco.CallMeMaybe((BOB_AT,)))
    assert member.mesh.disco_received(BOB_AT, call, T0) == []
    assert member.mesh.relayed_disco_received(REGION, EVE.key.public(), call, T0) == []
    assert [s.to for s in udp(member.mesh.relayed_disco_received(REGION, BOB.key.public(), call, T0))] == [BOB_AT]


def test_another_disco_key_resets_the_sessions_and_kills_the_old_key() -> None:
    member = alice()
    made_direct(member)
    again = Party(2, 77)
    patch = PeerChange(node_id=2, disco_key=again.disco.public())
    actions = member.frame(Instant(T0 + 60), peers_changed_patch=[patch])
    assert act.ResetPeer(BOB.key.public()) in actions
    assert steers(actions) == [act.Steer(BOB.key.public(), BOB_AT, REGION)]  # not alone: it is proven no more
    ping = BOB.seal(ALICE, disco.Ping(bytes(12), BOB.key.public()))
    assert member.mesh.disco_received(BOB_AT, ping, Instant(T0 + 60)) == []


def test_a_restarted_peer_is_searched_for_at_once_whatever_was_asked_lately() -> None:
    member = alice()
    made_direct(member)
    again = Party(2, 77)
    later = Instant(T0 + 2)
    actions = member.frame(later, peers_changed_patch=[PeerChange(node_id=2, disco_key=again.disco.public())])
    assert [s.to for s in udp(actions)] == [BOB_AT]


def test_a_pong_by_relay_answers_no_ping_by_udp() -> None:
    member = alice()
    message = BOB.open(ALICE, udp(member.mesh.sent(BOB.key.public(), T0))[0].packet)
    assert isinstance(message, disco.Ping)
    pong = BOB.seal(ALICE, disco.Pong(message.tx_id, BOB_AT))
    assert steers(member.mesh.relayed_disco_received(REGION, BOB.key.public(), pong, T0)) == []
    assert member.mesh.drops["disco.pong_elsewhere"] == 1


def test_a_ping_that_another_node_brings_by_relay_is_dropped() -> None:
    member = alice(BOB.node(), EVE.node())
    ping = BOB.seal(ALICE, disco.Ping(bytes(12), BOB.key.public()))
    member.mesh.relayed_disco_received(REGION, EVE.key.public(), ping, T0)
    assert member.mesh.drops["disco.wrong_node_key"] == 1


@pytest.mark.parametrize("source", ["192.0.2.2:0", "224.0.0.1:9", "[ff02::1]:9"])
def test_nothing_is_sent_to_a_source_that_no_single_host_has(source: str) -> None:
    member = alice()
    ping = BOB.seal(ALICE, disco.Ping(bytes(12), BOB.key.public()))
    assert udp(member.mesh.disco_received(Endpoint.parse(source), ping, T0)) == []
    assert member.mesh.drops["disco.bad_source"] == 1


def test_only_the_relay_that_a_peer_was_heard_by_can_take_that_back() -> None:
    member = alice(BOB.node().__class__(**{**_members(BOB.node()), "home_derp": 0}))
    member.mesh.relay_up(REGION, T0)
    call = BOB.seal(ALICE, disco.CallMeMaybe(()))
    heard = member.mesh.relayed_disco_received(REGION, BOB.key.public(), call, T0)
    assert steers(heard) == [act.Steer(BOB.key.public(), None, REGION)]
    assert steers(member.mesh.relay_gone(RegionId(9), BOB.key.public(), 1, T0)) == []
    gone = member.mesh.relay_gone(REGION, BOB.key.public(), 1, T0)
    assert steers(gone) == [act.Steer(BOB.key.public(), None, RegionId(0))]


def test_a_handshake_just_before_the_disco_key_changed_saves_no_session() -> None:
    member = alice()
    member.mesh.handshake(BOB.key.public(), Instant(T0 + 59))
    patch = PeerChange(node_id=2, disco_key=EVE.disco.public())
    assert act.ResetPeer(BOB.key.public()) in member.frame(Instant(T0 + 60), peers_changed_patch=[patch])


def test_a_poisoned_peer_costs_only_itself() -> None:
    bad = EVE.node(endpoints=["nonsense", "192.0.2.7%eth0:1", "[::1]:70000"], allowed_ips=["10.0.0.1/8", "x"])
    low_order = Party(5, 5)
    broken = Node(**{**_members(low_order.node()), "disco_key": type(BOB.disco.public())(bytes([1]) + bytes(31))})
    member = alice(bad, broken, BOB.node(endpoints=[str(BOB_AT)]))
    assert act.SetPeer(EVE.key.public(), ()) in member.first
    member.mesh.sent(low_order.key.public(), T0)
    made_direct(member)


def test_two_peers_with_one_key_do_not_fight_for_it() -> None:
    twin = Node(**{**_members(EVE.node()), "key": BOB.key.public()})
    member = alice(BOB.node(), twin)
    assert len([a for a in member.first if isinstance(a, act.SetPeer)]) == 1
    actions = member.frame(peers_removed=[2])
    assert act.RemovePeer(BOB.key.public()) in actions
    assert act.SetPeer(BOB.key.public(), ("100.64.0.3/32",)) in actions


def test_an_expired_peer_is_taken_out_and_comes_back() -> None:
    member = alice()
    actions = member.frame(peers_changed=[BOB.node(expired=True)])
    assert act.RemovePeer(BOB.key.public()) in actions
    actions = member.frame(peers_changed=[BOB.node()])
    assert act.SetPeer(BOB.key.public(), ("100.64.0.2/32",)) in actions
    assert act.Steer(BOB.key.public(), None, REGION) in actions


def test_routes_that_change_are_told_without_touching_the_path() -> None:
    member = alice()
    made_direct(member)
    actions = member.frame(peers_changed=[BOB.node(endpoints=[str(BOB_AT)], allowed_ips=["10.0.0.0/8"])])
    assert act.SetPeer(BOB.key.public(), ("10.0.0.0/8",)) in actions
    assert steers(actions) == []


def test_a_peer_without_a_home_is_answered_by_the_relay_it_was_heard_from() -> None:
    homeless = Node(**{**_members(BOB.node()), "home_derp": 0})
    member = alice(homeless)
    assert steers(member.first) == [act.Steer(BOB.key.public(), None, RegionId(0))]
    actions = member.mesh.received(BOB.key.public(), RegionId(7), T0)
    assert steers(actions) == [act.Steer(BOB.key.public(), None, RegionId(7))]
    gone = member.mesh.relay_gone(RegionId(7), BOB.key.public(), 0, T0)
    assert steers(gone) == [act.Steer(BOB.key.public(), None, RegionId(0))]


def test_no_route_to_the_endpoint_means_relay_at_once() -> None:
    member = alice()
    made_direct(member)
    actions = member.mesh.unsendable(BOB_AT, errno.EHOSTUNREACH, Instant(T0 + 1))
    assert steers(actions)[0] == act.Steer(BOB.key.public(), None, REGION)
    assert steers(member.mesh.unsendable(BOB_AT, errno.EMSGSIZE, Instant(T0 + 1))) == []


def test_a_packet_that_our_firewall_refuses_costs_the_trust_in_its_path() -> None:
    member = alice()
    made_direct(member)
    assert steers(member.mesh.unsendable(ELSEWHERE, errno.EPERM, Instant(T0 + 1))) == []
    actions = member.mesh.unsendable(BOB_AT, errno.EPERM, Instant(T0 + 1))
    assert steers(actions) == [act.Steer(BOB.key.public(), BOB_AT, REGION)]


def test_a_dead_socket_is_bound_anew_but_not_more_than_once_in_five_seconds() -> None:
    mesh = alice().mesh
    rebinds = [a for n in range(100) for a in mesh.unsendable(ELSEWHERE, errno.EPIPE, Instant(T0 + n / 10))]
    assert rebinds == [act.Rebind(41641)] * 2


def test_a_ping_that_nobody_answers_fails_by_name() -> None:
    member = alice()
    assert member.mesh.ping_requested(7, EVE.key.public(), 0, T0) == [
        act.PingFailed(7, EVE.key.public(), "no such peer in the map")
    ]
    member.mesh.ping_requested(8, BOB.key.public(), 0, T0)
    actions = [action for _, done in ticks(member.mesh, T0 + PING_TIMEOUT + 0.01) for action in done]
    assert act.PingFailed(8, BOB.key.public(), "timed out") in actions


def test_a_ping_of_a_size_is_of_that_size() -> None:
    actions = alice().mesh.ping_requested(1, BOB.key.public(), 1200, T0)
    assert 1200 in [len(s.packet) for s in udp(actions)]


def test_another_node_key_tells_everything_anew() -> None:
    member = alice()
    actions = member.mesh.set_node_key(NodePrivate(bytes([9]) * 32), T0)
    assert act.SetPeer(BOB.key.public(), ("100.64.0.2/32",)) in actions
    assert act.Steer(BOB.key.public(), None, REGION) in actions
    assert act.RelayClose(REGION) in actions
    assert any(isinstance(action, act.RelayOpen) for action in actions)
    assert any(isinstance(action, act.SetFilter) for action in actions)


@pytest.mark.parametrize("by_relay", [False, True])
@given(garbage=st.binary(max_size=300))
def test_any_bytes_do_no_harm(by_relay: bool, garbage: bytes) -> None:
    mesh = alice().mesh
    packet = b"TS\xf0\x9f\x92\xac" + BOB.disco.public().raw + garbage
    for each in (garbage, packet):
        if by_relay:
            assert mesh.relayed_disco_received(REGION, BOB.key.public(), each, T0) == []
        else:
            assert mesh.disco_received(ELSEWHERE, each, T0) == []
            assert mesh.stun_received(ELSEWHERE, each, T0) == []


def test_a_thousand_silent_peers_are_not_looked_at() -> None:
    many = [Party(n + 10, n + 10).node(endpoints=["192.0.2.5:1"]) for n in range(1000)]
    member = alice(*many)
    now = max((at for at, _ in ticks(member.mesh, T0 + 100)), default=T0)
    assert member.mesh.next_timeout() is None
    assert member.mesh.tick(Instant(now + 1)) == []


def test_a_policy_holds_for_peers_that_come_later_and_changes_for_those_that_are_there() -> None:
    member = alice()
    only_bob = PathPolicies(peers={"n2": PathPolicy.DIRECT, "n3": PathPolicy.RELAY})
    actions = member.mesh.path_policies_changed(only_bob, T0)
    assert steers(actions) == [act.Steer(BOB.key.public(), None, act.NEVER_BY_RELAY)]
    added = member.frame(peers_changed=[EVE.node(endpoints=[str(ELSEWHERE)])])
    assert steers(added) == [act.Steer(EVE.key.public(), None, REGION, act.NEVER_BY_UDP)]
    assert udp(member.mesh.sent(EVE.key.public(), T0)) == []
    back = member.mesh.path_policies_changed(PathPolicies(), T0)
    both = [act.Steer(party.key.public(), None, REGION) for party in (BOB, EVE)]
    assert steers(back) == both


def test_a_peer_for_the_relay_alone_gets_no_pong_by_udp() -> None:
    member = alice()
    member.mesh.path_policies_changed(PathPolicies(PathPolicy.RELAY), T0)
    ping = BOB.seal(ALICE, disco.Ping(bytes(12), BOB.key.public()))
    assert member.mesh.disco_received(BOB_AT, ping, T0) == []
    assert member.mesh.drops["disco.path_policy"] == 1
    assert member.mesh.relayed_disco_received(REGION, BOB.key.public(), ping, T0) != []


def test_a_peer_for_the_relay_alone_is_not_answered_by_udp_though_no_relay_is_known() -> None:
    member = alice(BOB.node(home_derp=0))
    actions = member.mesh.path_policies_changed(PathPolicies(PathPolicy.RELAY), T0)
    assert steers(actions) == [act.Steer(BOB.key.public(), None, RegionId(0), act.NEVER_BY_UDP)]


def test_a_plain_wireguard_peer_without_an_address_is_answered_where_it_asks_from() -> None:
    member = alice(BOB.node(is_wire_guard_only=True))
    assert steers(member.first) == [act.Steer(BOB.key.public(), None, act.NEVER_BY_RELAY)]


def test_a_ping_of_people_does_not_take_a_way_that_is_forbidden_and_says_so() -> None:
    member = alice()
    member.mesh.relay_up(REGION, T0)
    member.mesh.path_policies_changed(PathPolicies(PathPolicy.DIRECT), T0)
    actions = member.mesh.ping_requested(8, BOB.key.public(), 0, T0)
    assert [BOB.open(ALICE, a.packet).kind for a in actions if isinstance(a, act.SendRelay)] in ([], [3])
    actions += [action for _, done in ticks(member.mesh, T0 + PING_TIMEOUT + 0.01) for action in done]
    assert [a.reason for a in actions if isinstance(a, act.PingFailed)] == [
        "no direct path was found, and `ginnel path` forbids relays for this peer"
    ]


def test_each_new_peer_is_steered_as_the_tunnel_answers_nobody_by_a_relay_before() -> None:
    member = alice(BOB.node(home_derp=0), EVE.node())
    new = [action.peer for action in member.first if isinstance(action, act.SetPeer)]
    assert len(new) == 2 and {steer.peer for steer in steers(member.first)} == set(new)


def test_a_relay_s_problem_is_told_until_it_is_over_or_its_connection_is() -> None:
    member = alice()

    def told(actions: list[act.Action]) -> list[str | None]:
        return [a.text for a in actions if isinstance(a, act.Health) and a.code is act.HealthCode.DERP_PROBLEM]

    member.mesh.relay_up(REGION, T0)
    text = "the relay 'nyc' reports: the disk is full"
    for over in (
        lambda: member.mesh.relay_health(REGION, "", T0),
        lambda: member.mesh.relay_down(REGION, "closed", T0),
        lambda: member.mesh.relay_up(REGION, T0),
    ):
        assert told(member.mesh.relay_health(REGION, "the disk is full", T0)) == [text]
        assert told(member.mesh.relay_up(RegionId(2), T0)) == []
        assert told(over()) == [None]


OURS = {"IPNVersion": "0.1.0-ginnel"}


def cut_off(*peers: Node) -> tuple[Member, list[act.Action]]:
    """Alice sends to Bob, and the relay where he listens cannot be dialled."""
    member = alice(*peers)
    for peer in peers:
        member.mesh.sent(peer.key, T0)
    return member, member.mesh.relay_down(REGION, "timed out", Instant(T0 + 5.0))


def called(actions: list[act.Action]) -> list[object]:
    return [action.peer for action in actions if isinstance(action, act.CallByServer)]


def test_who_cannot_be_called_by_relay_is_called_by_the_server() -> None:
    member, actions = cut_off(BOB.node(endpoints=[str(BOB_AT)], hostinfo=OURS))
    assert called(actions) == [BOB.key.public()]
    member.mesh.sent(BOB.key.public(), Instant(T0 + 6.0))
    assert called(member.mesh.relay_down(REGION, "timed out", Instant(T0 + 10.0))) == [], "not again so soon"


def test_an_official_client_does_not_know_that_call_and_gets_none() -> None:
    assert called(cut_off(BOB.node(endpoints=[str(BOB_AT)], hostinfo={"IPNVersion": "1.98.9"}))[1]) == []


def test_a_peer_that_nobody_sends_to_is_not_called() -> None:
    member = alice(BOB.node(endpoints=[str(BOB_AT)], hostinfo=OURS))
    assert called(member.mesh.relay_down(REGION, "timed out", Instant(T0 + 5.0))) == []


def test_who_is_called_by_the_server_asks_where_the_map_says() -> None:
    member = alice(BOB.node(endpoints=[str(BOB_AT)], hostinfo=OURS))
    assert [packet.to for packet in udp(member.mesh.called_by_server(BOB.key.public(), T0))] == [BOB_AT]
    assert member.mesh.called_by_server(EVE.key.public(), T0) == [], "of nobody"
