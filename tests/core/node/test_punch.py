"""Searches beyond the ordinary, between two punchers and their NATs."""

from __future__ import annotations

from bisect import bisect_left
from itertools import product

import pytest

from ginnel.core.node.path_state import Direct
from ginnel.core.node.punch import BEGINS_AFTER, FIRST_PAUSE, PACE
from ginnel.core.node.punch_rules import OFFERS, SEARCHES, probing_allowed
from ginnel.core.node.punch_session import End
from ginnel.core.node.punch_shots import SEARCH_LIMIT, SOCKETS
from ginnel.core.node.punch_sockets import KEPT, LINGER
from ginnel.core.node.shunned import Fault
from ginnel.wire.punch import NatKind, Punch, Step
from ginnel.wire.tailcfg import Node
from ginnel.words import Endpoint, Instant, NodeKey
from tests.core.node.punch_world import STUN_SERVERS, T0, Kind, Side, World

QUICK: list[tuple[Kind, Kind]] = [
    (a, b)
    for a, b in product(("easy", "bare", "sequential"), repeat=2)  # type: ignore[assignment]
]


def most_in_a_second(side: Side) -> int:
    times = [at for at, _, _ in side.fired]
    return max((n - bisect_left(times, at - 1.0) + 1 for n, at in enumerate(times)), default=0)


@pytest.mark.parametrize(("a", "b"), QUICK)
@pytest.mark.parametrize("stun_servers", [1, 2])
def test_easy_bare_and_sequential_nats_are_got_through_within_a_second(a: Kind, b: Kind, stun_servers: int) -> None:
    for seed in range(10):
        world = World(a, b, seed, stun_servers=stun_servers)
        took = world.run(30.0, world.both_direct)
        assert took is not None and took < BEGINS_AFTER + 1.0, (seed, took)


@pytest.mark.parametrize(("a", "b"), [("easy", "random"), ("random", "easy"), ("bare", "random"), ("random", "bare")])
def test_hard_against_easy_is_direct_within_20_seconds_and_never_faster_than_the_pace(a: Kind, b: Kind) -> None:
    times = []
    for seed in range(12):
        world = World(a, b, seed)
        times.append(world.run(60.0, world.both_direct))
        assert max(most_in_a_second(side) for side in world.sides) <= PACE + 4, seed
    assert sum(took is not None and took <= 20.0 for took in times) >= 11, times


def test_hard_against_hard_costs_only_words_and_is_not_tried_again_soon() -> None:
    world = World("random", "sequential")
    assert world.run(120.0, world.both_direct) is None
    assert not any(side.fired or side.sockets for side in world.sides)
    offers = [message for side in world.sides for message in side.told if message.step is Step.OFFER]
    assert len({offer.session for offer in offers}) <= 2


def test_after_success_only_sockets_in_use_stay_open() -> None:
    world = World("easy", "random", 3)
    assert world.run(60.0, world.both_direct) is not None
    hard = world.bob
    assert len(hard.sockets) > SOCKETS
    world.run(world.now - T0 + LINGER + 1.0)
    assert len(hard.sockets) <= 4
    world.run(world.now - T0 + KEPT + 1.0)
    for side in world.sides:
        assert list(side.sockets) == [side.peer.path.socket]


def test_what_fails_is_bounded_closed_and_tried_again_ever_later() -> None:
    """The hard side hears nothing at all: its NAT takes mappings for nobody."""
    world = World("easy", "random", 5)
    world.bob.box.inward = lambda port, remote, now: None  # type: ignore[method-assign]
    assert world.run(100.0, world.both_direct) is None
    assert not any(side.sockets for side in world.sides)
    first = [len(side.fired) for side in world.sides]
    assert first[0] <= SEARCHES * (SEARCH_LIMIT + 2) * PACE
    assert first[1] <= SEARCHES * 3 * SOCKETS
    world.run(100.0 + FIRST_PAUSE[End.MISSED] - 60.0)
    assert [len(side.fired) for side in world.sides] == first


def test_lost_words_are_said_again() -> None:
    for lost in range(3):
        world = World("bare", "easy", 7)
        count = 0

        def carries(_: Punch, lost: int = lost) -> bool:
            nonlocal count
            count += 1
            return count - 1 != lost

        world.relay_carries = carries
        took = world.run(30.0, world.both_direct)
        assert took is not None and took < 8.0, (lost, took)


def test_nothing_is_said_to_other_clients() -> None:
    world = World("easy", "random", ginnel=False)
    world.run(30.0)
    assert not any(side.told or side.fired or side.sockets for side in world.sides)


def test_a_node_whose_udp_is_blocked_says_nothing() -> None:
    world = World("blocked", "blocked")
    world.run(30.0)
    assert not any(side.told or side.fired or side.sockets for side in world.sides)


def test_without_sockets_to_spare_a_search_ends_in_peace() -> None:
    world = World("easy", "random")
    world.bob.descriptors = 5
    assert world.run(9.0, world.both_direct) is None
    world.alice.descriptors = 1
    world.run(60.0)
    assert len(world.bob.sockets) == 0


@pytest.mark.parametrize("why", ["allowed", "metered"])
def test_ports_are_not_guessed_where_policy_or_a_metered_link_forbids_but_named_ones_are_used(why: str) -> None:
    def forbid(side: Side) -> None:
        side.puncher.allowed, side.puncher.metered = why != "allowed", why == "metered"

    world = World("easy", "random")
    forbid(world.alice)
    assert world.run(30.0, world.both_direct) is None
    assert not world.alice.fired
    assert len(world.bob.fired) < 20  # until the refusal is there
    assert not any(side.sockets for side in world.sides)
    world = World("bare", "bare")
    forbid(world.alice)
    assert world.run(30.0, world.both_direct) is not None


def test_the_policy_is_an_attribute_of_our_own_node() -> None:
    node = World("easy", "easy").alice.peer.node
    assert probing_allowed(None) and probing_allowed(node)
    off = Node(1, "n", "n.", 1, node.key, [], cap_map={"disable-hard-nat-probing": None})
    assert not probing_allowed(off)


# --- hostile peers -----------------------------------------------------------------------------------------------


def offer(nat: NatKind, endpoint: str, session: bytes = b"12345678", ttl: int = 2) -> Punch:
    return Punch(Step.OFFER, session, nat, Endpoint.parse(endpoint), 1 if nat is NatKind.SEQUENTIAL else 0, ttl)


@pytest.mark.parametrize(
    "victim",
    ["203.0.113.77:4000", "10.0.0.7:4000", "100.64.0.9:4000", "127.0.0.1:4000", "224.0.0.1:4000", "[2001:db8::1]:9"],
)
@pytest.mark.parametrize("nat", [NatKind.EASY, NatKind.SEQUENTIAL, NatKind.RANDOM])
def test_only_an_outside_address_that_the_map_names_for_the_peer_is_aimed_at(nat: NatKind, victim: str) -> None:
    world = World("easy", "random")
    world.alice.do(world.alice.puncher.told(world.alice.peer, offer(nat, victim), world.now))
    world.run(1.5)
    assert not world.alice.fired and not world.alice.sockets and not world.alice.told
    assert world.alice.drops["punch.address"] == 1


def test_an_answer_cannot_move_the_aim_elsewhere() -> None:
    world = World("easy", "random")
    world.relay_carries = lambda message: message.step is not Step.ANSWER
    world.run(BEGINS_AFTER + 0.3)
    asked = next(side for side in world.sides if side.told and side.told[0].step is Step.OFFER)
    victim = Punch(Step.ANSWER, asked.told[0].session, NatKind.RANDOM, Endpoint.parse("203.0.113.77:9"))
    asked.do(asked.puncher.told(asked.peer, victim, world.now))
    world.run(10.0)
    assert not [to for _, to, _ in asked.fired if to.ip == victim.endpoint.ip]


def test_a_peer_makes_us_search_only_so_often_whatever_it_offers() -> None:
    world = World("easy", "random")
    alice = world.alice
    world.relay_carries = lambda _: False
    alice.puncher._records.clear()
    asked = 0
    for second in range(0, 280, 2):
        session = second.to_bytes(8, "big")
        alice.do(alice.puncher.told(alice.peer, offer(NatKind.RANDOM, "198.51.100.1:4000", session), world.now))
        asked += 1
        world.run(world.now - T0 + 2.0)
    assert asked == 140
    assert alice.drops["punch.offers"] > 0
    assert most_in_a_second(alice) <= PACE + 4
    assert len(alice.sockets) <= 3


@pytest.mark.parametrize("ends_it", ["with another offer", "with a refusal"])
def test_a_peer_that_ends_each_search_itself_gets_no_more_of_them(ends_it: str) -> None:
    """Its NAT is a stranger's address that it got into the map."""
    world = World("easy", "random")
    alice = world.alice
    world.relay_carries = lambda _: False
    for n in range(15):
        bait = offer(NatKind.RANDOM, "198.51.100.1:4000", n.to_bytes(8, "big"))
        alice.do(alice.puncher.told(alice.peer, bait, world.now))
        world.run(world.now - T0 + 18.0)
        if ends_it == "with a refusal":
            enough = Punch(Step.REFUSED, bait.session, NatKind.UNKNOWN, bait.endpoint)
            alice.do(alice.puncher.told(alice.peer, enough, world.now))
    assert 0 < len(alice.fired) <= SEARCHES * SEARCH_LIMIT * PACE


def test_openers_go_as_far_as_a_ttl_can_say() -> None:
    world = World("random", "easy")
    world.relay_carries = lambda _: False
    far = offer(NatKind.EASY, "198.51.100.1:4000", ttl=255)
    world.alice.do(world.alice.puncher.told(world.alice.peer, far, world.now))
    world.run(20.0)
    assert {ttl for _, _, ttl in world.alice.fired} == {255}


def test_a_peer_that_offers_without_end_is_heard_so_often() -> None:
    world = World("easy", "easy")
    world.relay_carries = lambda _: False
    for number in range(3 * OFFERS):
        message = offer(NatKind.EASY, "198.51.100.1:4000", number.to_bytes(8, "big"))
        world.alice.do(world.alice.puncher.told(world.alice.peer, message, world.now))
    assert world.alice.drops["punch.offers"] == 2 * OFFERS
    world.run(20.0)
    assert len(world.alice.sockets) <= 3


def test_words_of_no_session_are_dropped() -> None:
    world = World("easy", "easy")
    for step in (Step.ANSWER, Step.OPENED, Step.REFUSED):
        word = Punch(step, b"87654321", NatKind.EASY, Endpoint.parse("198.51.100.1:4000"))
        assert world.alice.puncher.told(world.alice.peer, word, world.now) == []
    unknown = Punch(Step.OFFER, b"87654321", NatKind.UNKNOWN, Endpoint.parse("198.51.100.1:4000"))
    assert world.alice.puncher.told(world.alice.peer, unknown, world.now) == []
    assert world.alice.drops == {"punch.no_session": 3, "punch.unknown_nat": 1}


def test_stun_answers_count_only_from_whom_was_asked_and_at_the_socket_that_asked() -> None:
    world = World("easy", "easy")
    puncher = world.alice.puncher
    assert puncher.stun_received(STUN_SERVERS[0], 1, b"", world.now) is None
    assert puncher.stun_received(Endpoint.parse("198.51.100.1:3478"), 1, bytes(40), world.now) is None


def test_a_move_or_a_removed_peer_ends_a_search_and_closes_its_sockets() -> None:
    for ends in ("moved", "forget"):
        world = World("easy", "random", 2)
        world.run(BEGINS_AFTER + 0.8, world.both_direct)
        assert world.bob.sockets
        for side in world.sides:
            side.do(side.puncher.moved() if ends == "moved" else side.puncher.forget(side.other.key))
            assert not side.sockets
            assert side.puncher.next_timeout() is None


def test_two_sessions_run_at_a_time_and_further_offers_are_refused() -> None:
    world = World("easy", "easy")
    puncher = world.alice.puncher
    template = world.alice.peer
    replies = []
    for number in range(1, 4):
        node = Node(number, f"n{number}", "n.", 1, NodeKey(bytes([number + 9]) * 32), [], endpoints=["198.51.100.1:1"])
        peer = type(template)(node, type(template.path)(node.key, None), template.home)  # type: ignore[arg-type]
        message = offer(NatKind.EASY, "198.51.100.1:4000", bytes([number]) * 8)
        replies.append(puncher.told(peer, message, Instant(world.now)))
    assert [type(actions[0]).__name__ for actions in replies] == ["OpenSides", "OpenSides", "Tell"]


def test_paths_that_carry_no_data_are_not_found_again_and_again() -> None:
    """Every search finds another port, so no endpoint is shunned twice; what is between them is the same."""
    world = World("easy", "random", 3)
    convictions: list[Instant] = []

    def watch() -> bool:
        for side in world.sides:
            path = side.peer.path
            if isinstance(path.path, Direct) and path.socket:
                if side is world.alice:
                    convictions.append(world.now)
                path._convict(Fault.DATA, world.now)
                side.look()
        return False

    world.run(1200.0, watch)
    assert 2 <= len(convictions) <= 6, [at - T0 for at in convictions]


@pytest.mark.parametrize("why", ["allowed", "metered"])
def test_a_search_that_runs_ends_when_it_is_allowed_no_more(why: str) -> None:
    world = World("easy", "random", 2)
    world.run(BEGINS_AFTER + 0.8, world.both_direct)
    assert world.alice.fired and world.bob.fired
    for side in world.sides:
        setattr(side.puncher, why, why == "metered")
        side.fired.clear()
    assert world.run(30.0, world.both_direct) is None
    assert not any(side.fired or side.sockets for side in world.sides)


@pytest.mark.parametrize("why", ["allowed", "metered"])
def test_a_session_that_has_begun_opens_no_search_when_it_is_allowed_no_more(why: str) -> None:
    world = World("easy", "random", 2)
    world.run(BEGINS_AFTER + 0.1)
    assert all(side.puncher._sessions for side in world.sides)
    for side in world.sides:
        setattr(side.puncher, why, why == "metered")
    world.run(BEGINS_AFTER + 6.0)
    assert 0 < max(side.most_open for side in world.sides) < 16
