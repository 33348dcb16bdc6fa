from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.node.actions import AskPort80, Health, HealthCode
from ginnel.core.node.captive import (
    AFTER_BREAK,
    AGAIN_MAX,
    AGAIN_MIN,
    ANSWER_TIME,
    NO_DETECTION,
    OTHERS_TIME,
    SILENCE_KEPT,
    TEXT,
    Captive,
    PortalAction,
    Relay80,
    Sign,
    detection_allowed,
    judge,
    relays_to_ask,
)
from ginnel.wire.generate204 import Answer
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion, Node
from ginnel.words import Endpoint, Instant, NodePrivate, RegionId

T0 = Instant(1000.0)
HOME = RegionId(1)
TOLD, CLEARED = Health(HealthCode.CAPTIVE_PORTAL, TEXT), Health(HealthCode.CAPTIVE_PORTAL, None)
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n"
STRIPPED = b"HTTP/1.1 204 No Content\r\n\r\n"


def node(number: int, letter: str = "a", **members: object) -> DERPNode:
    known: dict[str, object] = {"ipv4": f"203.0.113.{number}", "can_port80": True} | members
    return DERPNode(f"{number}{letter}", number, f"relay{number}.example", **known)  # type: ignore[arg-type]


def region(number: int, *nodes: DERPNode, **members: object) -> DERPRegion:
    return DERPRegion(number, f"r{number}", f"R{number}", nodes=list(nodes) or [node(number)], **members)  # type: ignore[arg-type]


def derp_map(*regions: DERPRegion) -> DERPMap:
    return DERPMap(regions={each.region_id: each for each in regions})


class Watch:
    def __init__(self, *regions: DERPRegion, other_way: bool = False) -> None:
        self.other_way = other_way
        self.core = Captive(Random(1).randbytes, lambda _: self.other_way)
        self.core.map_changed(derp_map(*(regions or (region(1), region(2)))))

    def asked(self, actions: list[PortalAction]) -> list[AskPort80]:
        return [action for action in actions if isinstance(action, AskPort80)]

    def found(self, now: float = T0) -> None:
        """A portal is there."""
        for ask in self.asked(self.core.check(Instant(now), force=True)):
            self.core.answered(ask.number, REDIRECT, Instant(now + 0.1))
        assert self.core.verdict


def true_answer(ask: AskPort80) -> bytes:
    return f"HTTP/1.1 204 No Content\r\nX-Tailscale-Response: response {ask.challenge}\r\n\r\n".encode()


# --- who is asked ---


def test_only_relays_that_say_so_with_an_address_in_the_map_are_asked_home_first() -> None:
    wanted = derp_map(
        region(1, node(1), node(11, "b")),
        region(2, node(2)),
        region(3, node(3, can_port80=False)),
        region(4, node(4, ipv4="")),
        region(5, node(5, ipv4="none", ipv6="2001:db8::5")),
        region(6, node(6), avoid=True),
        region(7, node(7), no_measure_no_home=True),
    )
    assert [str(r.address) for r in relays_to_ask(wanted, RegionId(2))] == [
        "203.0.113.2", "203.0.113.1", "2001:db8::5", "203.0.113.11",
    ]  # fmt: skip


def test_five_are_asked_at_once_and_no_address_twice() -> None:
    many = derp_map(*(region(n, node(n), node(n, "b")) for n in range(1, 9)))
    asked = relays_to_ask(many, HOME)
    assert len(asked) == len({relay.address for relay in asked}) == 5


def test_a_map_without_such_relays_sends_nothing_and_ends_at_once() -> None:
    watch = Watch(region(1, node(1, can_port80=False)))
    assert watch.core.check(T0) == []
    assert not watch.core.asking
    assert watch.core.next_timeout() is None


def test_the_policy_switches_it_off_and_takes_a_told_portal_back() -> None:
    watch = Watch()
    watch.found()
    assert watch.core.policy_changed(False) == [CLEARED]
    assert watch.core.check(T0, force=True) == []
    key = NodePrivate(bytes(range(32))).public()
    own = Node(id=1, stable_id="n1", name="a.", user=1, key=key, addresses=[], cap_map={NO_DETECTION: None})
    assert not detection_allowed(own)
    assert detection_allowed(None)


# --- what answers mean ---

RELAY = Relay80("relay1.example", Endpoint.parse("203.0.113.1:80").ip)


@pytest.mark.parametrize(
    ("answer", "sign"),
    [
        (Answer(204, "response x"), Sign.TRUE),
        (Answer(204, "response y"), Sign.FORGED),
        (Answer(204), Sign.STRIPPED),
        (Answer(204, "response x", content=True), Sign.FORGED),
        (Answer(200), Sign.FORGED),
        (Answer(302, location="http://login.example/"), Sign.FORGED),
        (Answer(302, location="https://login.example/generate_204"), Sign.FORGED),
        (Answer(301, location="https://relay1.example/generate_204?t=1"), Sign.NOTHING),
        (Answer(302, location="https://203.0.113.1/generate_204"), Sign.NOTHING),
        (Answer(302, location="https://[broken"), Sign.FORGED),
        (Answer(511), Sign.FORGED),
        (Answer(503), Sign.NOTHING),
        (Answer(429), Sign.NOTHING),
    ],
)
def test_an_answer_says_who_gave_it(answer: Answer, sign: Sign) -> None:
    assert judge(answer, "x", RELAY) is sign


def test_each_question_has_a_challenge_of_its_own() -> None:
    watch = Watch()
    challenges = {ask.challenge for ask in watch.asked(watch.core.check(T0))}
    assert len(challenges) == 2
    assert all(len(c) <= 64 and c.replace("_", "").isalnum() for c in challenges)


def test_one_true_answer_outvotes_odd_ones() -> None:
    watch = Watch()
    first, second = watch.asked(watch.core.check(T0))
    assert watch.core.answered(first.number, REDIRECT, Instant(T0 + 0.1)) == []
    assert watch.core.answered(second.number, true_answer(second), Instant(T0 + 0.2)) == []
    assert watch.core.verdict is False


def test_an_odd_answer_waits_half_a_second_for_the_others_and_is_told() -> None:
    watch = Watch()
    first, _ = watch.asked(watch.core.check(T0))
    watch.core.answered(first.number, REDIRECT, Instant(T0 + 0.1))
    assert watch.core.next_timeout() == pytest.approx(T0 + 0.1 + OTHERS_TIME)
    assert watch.core.tick(Instant(T0 + 0.61)) == [TOLD]
    assert watch.core.verdict is True


@pytest.mark.parametrize("gets_through", [True, False])
def test_a_204_without_the_challenge_alarms_only_where_nothing_else_gets_through(gets_through: bool) -> None:
    watch = Watch(region(1), other_way=gets_through)
    (ask,) = watch.asked(watch.core.check(T0))
    watch.core.answered(ask.number, STRIPPED, Instant(T0 + 0.1))
    if not gets_through:
        assert watch.core.asking  # HTTPS may yet come through
        watch.core.tick(Instant(T0 + ANSWER_TIME))
    assert watch.core.verdict is not gets_through


def test_another_way_that_opens_late_still_clears_a_204_without_the_challenge() -> None:
    watch = Watch(region(1))
    (ask,) = watch.asked(watch.core.check(T0))
    watch.core.answered(ask.number, STRIPPED, Instant(T0 + 0.1))
    watch.other_way = True
    watch.core.tick(Instant(T0 + 1))
    assert watch.core.verdict is False


def test_silence_is_no_alarm_and_is_not_tried_again_for_minutes_but_when_asked_for() -> None:
    watch = Watch()
    watch.core.check(T0)
    assert watch.core.tick(Instant(T0 + ANSWER_TIME)) == []
    assert (watch.core.verdict, watch.core.filtered) == (None, True)
    assert watch.core.next_timeout() is None
    assert watch.core.check(Instant(T0 + SILENCE_KEPT)) == []
    assert len(watch.core.check(Instant(T0 + SILENCE_KEPT), force=True)) == 2
    watch.core.tick(Instant(T0 + SILENCE_KEPT + ANSWER_TIME))
    watch.core.network_changed()
    assert len(watch.core.check(Instant(T0 + SILENCE_KEPT + 10))) == 2


def test_answers_count_once_and_only_while_they_are_asked_for() -> None:
    watch = Watch()
    first, _ = watch.asked(watch.core.check(T0))
    assert watch.core.answered(99, REDIRECT, T0) == []
    watch.core.answered(first.number, b"", T0)
    assert watch.core.answered(first.number, REDIRECT, T0) == []
    watch.core.tick(Instant(T0 + ANSWER_TIME))
    assert watch.core.answered(first.number, REDIRECT, Instant(T0 + 4)) == []
    assert watch.core.verdict is None


# --- when ---


def test_connectivity_that_is_gone_for_two_seconds_is_looked_into_once() -> None:
    watch = Watch()
    assert watch.core.connectivity(False, HOME, T0) == []
    assert watch.core.next_timeout() == T0 + AFTER_BREAK
    assert len(watch.core.tick(Instant(T0 + AFTER_BREAK))) == 2
    watch.core.tick(Instant(T0 + 10))
    watch.core.connectivity(False, HOME, Instant(T0 + 11))
    assert watch.core.next_timeout() is None


def test_a_short_break_is_none() -> None:
    watch = Watch()
    watch.core.connectivity(False, HOME, T0)
    watch.core.connectivity(True, HOME, Instant(T0 + 1))
    assert watch.core.next_timeout() is None


def test_a_portal_is_asked_for_again_ever_more_seldom_and_told_once() -> None:
    watch = Watch(region(1))
    watch.found()
    gaps, now = [], Instant(T0 + 0.1)
    for _ in range(8):
        again = watch.core.next_timeout()
        assert again is not None
        gaps.append(again - now)
        (ask,) = watch.asked(watch.core.tick(again))
        assert watch.core.answered(ask.number, REDIRECT, again) == []  # no news
        now = again
    assert (gaps[0], gaps[-1]) == (pytest.approx(AGAIN_MIN), AGAIN_MAX)
    assert gaps == sorted(gaps)


def test_a_portal_that_is_gone_is_taken_back() -> None:
    watch = Watch(region(1))
    watch.found()
    (ask,) = watch.asked(watch.core.tick(Instant(T0 + 6)))
    assert watch.core.answered(ask.number, true_answer(ask), Instant(T0 + 6)) == [CLEARED]
    assert watch.core.next_timeout() is None


def test_udp_that_works_and_another_network_take_it_back_at_once() -> None:
    watch = Watch()
    watch.found()
    assert watch.core.udp_works(Instant(T0 + 1)) == [CLEARED]
    watch.found(T0 + 2)
    assert watch.core.network_changed() == [CLEARED]
    assert watch.core.next_timeout() is None


def test_connectivity_that_is_back_is_a_reason_to_look_again_not_to_believe() -> None:
    watch = Watch(region(1))
    watch.core.connectivity(False, HOME, T0)
    watch.found()
    (ask,) = watch.asked(watch.core.connectivity(True, HOME, Instant(T0 + 1)))
    assert watch.core.answered(ask.number, REDIRECT, Instant(T0 + 1)) == []
    assert watch.core.verdict


def test_a_portal_that_misses_one_question_stays_told() -> None:
    watch = Watch(region(1))
    watch.core.connectivity(False, HOME, T0)
    watch.found()
    for at, expected in ((T0 + 6, []), (T0 + 20, [CLEARED])):
        watch.core.tick(Instant(at))
        assert watch.core.tick(Instant(at + ANSWER_TIME)) == expected


ANSWERS = st.sampled_from(["true", "forged", "stripped", "nothing", "silence"])


@given(st.lists(ANSWERS, min_size=1, max_size=5), st.booleans(), st.permutations(range(5)))
def test_the_verdict_does_not_depend_on_the_order_of_answers(
    kinds: list[str], gets_through: bool, order: list[int]
) -> None:
    watch = Watch(*(region(n) for n in range(1, len(kinds) + 1)), other_way=gets_through)
    asks = watch.asked(watch.core.check(T0))
    for place in order:
        if place < len(asks) and kinds[place] != "silence":
            ask = asks[place]
            came = {"true": true_answer(ask), "forged": REDIRECT, "stripped": STRIPPED, "nothing": b""}[kinds[place]]
            watch.core.answered(ask.number, came, Instant(T0 + 0.1))
    watch.core.tick(Instant(T0 + ANSWER_TIME))
    assert not watch.core.asking
    stripped = (not gets_through) if "stripped" in kinds else None
    assert watch.core.verdict is (False if "true" in kinds else True if "forged" in kinds else stripped)
