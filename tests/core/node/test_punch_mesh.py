"""A search beyond the ordinary as a whole mesh core sees it: from the first packet to the path that is used."""

from __future__ import annotations

import msgspec
import pytest

from ginnel.core.node import actions as act
from ginnel.core.node.path_policy import PathPolicies, PathPolicy
from ginnel.core.node.punch_session import SURVEYED
from ginnel.wire import disco, stun
from ginnel.wire.punch import NatKind, Punch, Step
from ginnel.words import Endpoint, Instant
from tests.core.node.test_mesh import ALICE, BOB, EVE, REGION, T0, Member, alice, steers, udp
from tests.core.node.ticks import ticks

SERVER = Endpoint.parse("203.0.113.1:3478")
BOB_OUTSIDE = Endpoint.parse("192.0.2.2:40002")
OURS = {"IPNVersion": "1.0-ginnel"}
SIDES = [(number, 50000 + number) for number in range(1, SURVEYED + 1)]


def searching(**members: object) -> tuple[Member, list[act.Action]]:
    """Alice wants to send for two seconds and nobody answers."""
    member = alice(BOB.node(endpoints=["192.0.2.2:41641"], **members))
    member.mesh.relay_up(REGION, T0)
    actions: list[act.Action] = []
    for step in range(5):
        now = Instant(T0 + step / 2)
        actions += [*member.mesh.sent(BOB.key.public(), now), *member.mesh.tick(now)]
    return member, actions


def sealed_for_bob(actions: list[act.Action]) -> list[Punch]:
    opened = [BOB.open(ALICE, a.packet) for a in actions if isinstance(a, act.SendRelay)]
    return [message for message in opened if isinstance(message, Punch)]


def offered() -> tuple[Member, Punch]:
    member, actions = searching(hostinfo=OURS)
    (opening,) = [a for a in actions if isinstance(a, act.OpenSides)]
    assert opening.count == SURVEYED
    asked = udp(member.mesh.sides_opened(opening.request, SIDES, Instant(T0 + 2.1)))
    assert [(ask.to, ask.socket) for ask in asked] == [(SERVER, number) for number, _ in SIDES]
    done: list[act.Action] = []
    for ask in asked:
        mapped = Endpoint.parse(f"198.51.100.7:{50000 + ask.socket}")
        answer = stun.binding_success(stun.parse_binding_request(ask.packet), mapped)
        done += member.mesh.stun_received(SERVER, answer, Instant(T0 + 2.2), ask.socket)
    assert act.CloseSides((1, 2)) in done
    (offer,) = sealed_for_bob(done)
    return member, offer


def test_the_offer_says_what_our_nat_is_and_goes_by_relay() -> None:
    _, offer = offered()
    assert (offer.step, offer.nat, offer.endpoint) == (Step.OFFER, NatKind.EASY, Endpoint.parse("198.51.100.7:50003"))


def test_from_the_answer_to_a_path_by_the_side_socket_that_heartbeats_use_as_well() -> None:
    member, offer = offered()
    mesh, now = member.mesh, Instant(T0 + 2.3)
    answer = Punch(Step.ANSWER, offer.session, NatKind.EASY, BOB_OUTSIDE)
    actions = mesh.relayed_disco_received(REGION, BOB.key.public(), BOB.seal(ALICE, answer), now)
    actions += mesh.tick(now)
    (ping,) = [sent for sent in udp(actions) if sent.socket]
    assert (ping.to, ping.socket, ping.ttl) == (BOB_OUTSIDE, 3, 0)
    message = BOB.open(ALICE, ping.packet)
    assert isinstance(message, disco.Ping)
    pong = BOB.seal(ALICE, disco.Pong(message.tx_id, BOB_OUTSIDE))
    found = mesh.disco_received(BOB_OUTSIDE, pong, Instant(T0 + 2.34), 3)
    assert [(steer.endpoint, steer.socket) for steer in steers(found)] == [(BOB_OUTSIDE, 3)]
    later: list[act.Action] = []
    for step in range(1, 60):
        now = Instant(T0 + 2.34 + step / 10)
        later += [
            *mesh.sent(BOB.key.public(), now),
            *mesh.received(BOB.key.public(), BOB_OUTSIDE, now),
            *mesh.tick(now),
        ]
    assert (BOB_OUTSIDE, 3) in [(sent.to, sent.socket) for sent in udp(later)]
    assert not [a for a in later if isinstance(a, act.CloseSides) and 3 in a.sockets]


def test_a_ping_to_a_side_socket_is_answered_by_it() -> None:
    member, _ = offered()
    ping = BOB.seal(ALICE, disco.Ping(bytes(12), BOB.key.public()))
    sent = udp(member.mesh.disco_received(BOB_OUTSIDE, ping, Instant(T0 + 2.3), 3))
    assert {(each.to, each.socket) for each in sent} == {(BOB_OUTSIDE, 3)}
    assert isinstance(BOB.open(ALICE, sent[0].packet), disco.Pong)


def test_nothing_of_it_happens_with_other_clients() -> None:
    _, actions = searching(hostinfo={"IPNVersion": "1.98.9-t123"})
    assert not [a for a in actions if isinstance(a, act.OpenSides)]
    assert sealed_for_bob(actions) == []


def test_a_word_by_udp_or_of_a_stranger_is_dropped() -> None:
    member, offer = offered()
    answer = BOB.seal(ALICE, Punch(Step.ANSWER, offer.session, NatKind.EASY, BOB_OUTSIDE))
    assert member.mesh.disco_received(BOB_OUTSIDE, answer, Instant(T0 + 2.3)) == []
    assert member.mesh.drops["disco.punch_not_by_relay"] == 1
    member.mesh.relayed_disco_received(REGION, ALICE.key.public(), answer, Instant(T0 + 2.3))
    assert member.mesh.drops["disco.punch_not_by_relay"] == 2


def stunned(member: Member, actions: list[act.Action], now: Instant) -> list[act.Action]:
    """Alice's side sockets have asked the server: an easy NAT answers."""
    (opening,) = [a for a in actions if isinstance(a, act.OpenSides)]
    done: list[act.Action] = []
    for ask in udp(member.mesh.sides_opened(opening.request, SIDES, now)):
        mapped = Endpoint.parse(f"198.51.100.7:{50000 + ask.socket}")
        answer = stun.binding_success(stun.parse_binding_request(ask.packet), mapped)
        done += member.mesh.stun_received(SERVER, answer, now, ask.socket)
    return done


def by_relay(member: Member, message: disco.Message, now: Instant) -> list[act.Action]:
    return member.mesh.relayed_disco_received(REGION, BOB.key.public(), BOB.seal(ALICE, message), now)


def guessing() -> Member:
    """Bob's NAT is a hard one, and Alice guesses its ports."""
    member = alice(BOB.node(endpoints=["192.0.2.2:41641"], hostinfo=OURS))
    offer = Punch(Step.OFFER, bytes(8), NatKind.RANDOM, BOB_OUTSIDE, ttl=2)
    stunned(member, by_relay(member, offer, T0), T0)
    assert [sent for sent in udp(member.mesh.tick(Instant(T0 + 0.1))) if sent.to.ip == BOB_OUTSIDE.ip]
    return member


def shots(member: Member, since: float, until: float) -> list[act.SendUdp]:
    times = [Instant(T0 + since + step / 10) for step in range(round((until - since) * 10))]
    return [sent for now in times for sent in udp(member.mesh.tick(now)) if sent.to.ip == BOB_OUTSIDE.ip]


def test_nothing_is_sent_to_the_peer_s_addresses_once_the_user_wants_relays_alone() -> None:
    member = guessing()
    actions = member.mesh.path_policies_changed(PathPolicies(PathPolicy.RELAY), Instant(T0 + 0.2))
    assert [a.sockets for a in actions if isinstance(a, act.CloseSides)] == [(3,)]
    assert shots(member, 0.3, 3.0) == []


@pytest.mark.parametrize("how", ["another key", "expired", "removed"])
def test_a_search_ends_with_the_peer_s_key(how: str) -> None:
    member = guessing()
    now = Instant(T0 + 0.2)
    changed = {
        "another key": {"peers_changed": [msgspec.structs.replace(BOB.node(), key=EVE.key.public())]},
        "expired": {"peers_changed": [msgspec.structs.replace(BOB.node(), expired=True)]},
        "removed": {"peers_removed": [BOB.number]},
    }[how]
    actions = member.frame(now, **changed)
    assert act.RemovePeer(BOB.key.public()) in actions
    assert [a.sockets for a in actions if isinstance(a, act.CloseSides)] == [(3,)]
    assert shots(member, 0.3, 3.0) == []
    assert member.mesh._puncher._records == {}


def by_side_socket() -> tuple[Member, Instant]:
    """Bob is reached by side socket 3, and trusted."""
    member, offer = offered()
    mesh, now = member.mesh, Instant(T0 + 2.3)
    answer = Punch(Step.ANSWER, offer.session, NatKind.EASY, BOB_OUTSIDE)
    (ping,) = [sent for sent in udp([*by_relay(member, answer, now), *mesh.tick(now)]) if sent.socket]
    found = mesh.disco_received(BOB_OUTSIDE, ponged(ping), Instant(T0 + 2.34), 3)
    assert [(steer.endpoint, steer.socket) for steer in steers(found)] == [(BOB_OUTSIDE, 3)]
    return member, Instant(T0 + 2.34)


def ponged(ping: act.SendUdp) -> bytes:
    message = BOB.open(ALICE, ping.packet)
    assert isinstance(message, disco.Ping)
    return BOB.seal(ALICE, disco.Pong(message.tx_id, BOB_OUTSIDE))


def closed(actions: list[act.Action]) -> list[int]:
    return [socket for action in actions if isinstance(action, act.CloseSides) for socket in action.sockets]


def ticked(member: Member, until: Instant) -> list[act.Action]:
    """Woken whenever it wants; Bob answers what is asked by side socket 3 and has arrived."""
    mesh, actions = member.mesh, list[act.Action]()
    for at, done in ticks(mesh, until):
        actions += done
        for ping in [sent for sent in udp(done) if (sent.to, sent.socket, sent.ttl) == (BOB_OUTSIDE, 3, 0)]:
            actions += mesh.disco_received(BOB_OUTSIDE, ponged(ping), at, 3)
    return actions


def test_an_idle_peer_s_side_socket_is_closed_once_no_nat_remembers_it() -> None:
    member, now = by_side_socket()
    assert closed(ticked(member, Instant(now + 60.0))) == []
    later = ticked(member, Instant(now + 300.0))
    assert closed(later) == [3]
    assert (steers(later)[-1].endpoint, steers(later)[-1].socket) == (None, 0)


def test_a_pong_that_was_on_its_way_up_when_its_socket_was_closed_makes_no_path() -> None:
    member, offer = offered()
    mesh, now = member.mesh, Instant(T0 + 2.3)
    answer = Punch(Step.ANSWER, offer.session, NatKind.EASY, BOB_OUTSIDE)
    (ping,) = [sent for sent in udp([*by_relay(member, answer, now), *mesh.tick(now)]) if sent.socket]
    ended = mesh.link_changed(True, Instant(T0 + 2.4))
    assert closed(ended) == [3]
    late = mesh.disco_received(BOB_OUTSIDE, ponged(ping), Instant(T0 + 2.5), 3)
    assert steers(late) == [] and mesh.drops["disco.closed_socket"] == 1
