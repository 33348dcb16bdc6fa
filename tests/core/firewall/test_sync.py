"""The keeper of a set, step by step."""

import time
from collections import deque
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from random import Random

import pytest

from ginnel.core.firewall import sync
from ginnel.core.firewall.sync import Sync
from ginnel.core.firewall.sync_words import (
    AT_ONCE,
    FAMILIES,
    Action,
    Answer,
    Apply,
    AskDns,
    AskList,
    Listing,
    Question,
    ReadSet,
    Save,
    Saved,
    Settings,
    Tell,
    Wanted,
)
from ginnel.words import Instant, IpAddress

OLD, NEW, OTHER = map(ip_address, ("203.0.113.1", "203.0.113.2", "203.0.113.3"))
SIX = ip_address("2001:db8::1")
NAME = Question("derp1a.example.com", 4)
BY_DNS = Listing((Wanted(NAME.name, ask=(4,)), Wanted("listed.example.com", frozenset((OTHER,)))))


def some(*addresses: IpAddress, ttl: float = 60.0, refused: tuple[str, ...] = ()) -> Answer:
    return Answer(frozenset(addresses), ttl, refused)


@dataclass
class Run:
    """A machine with a set that does what it is told; lists and answers come from the test."""

    settings: Settings = field(default_factory=Settings)
    saved: Saved = field(default_factory=Saved)
    elapsed: float = 0.0
    held: set[IpAddress] = field(default_factory=set)
    set_works: bool = True
    now: float = 0.0
    actions: list[Action] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machine = Sync(self.settings, self.saved, self.elapsed, Instant(0.0))
        self.do(self.machine.start(Instant(0.0)))

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            self.actions.append(action)
            if isinstance(action, Save):
                self.saved = action.saved
            if isinstance(action, ReadSet):
                self.do(self.read())
            if isinstance(action, Apply):
                self.do(self.change(action))

    def read(self) -> list[Action]:
        if not self.set_works:
            return self.machine.unread("no such set", Instant(self.now))
        return self.machine.held(frozenset(self.held), Instant(self.now))

    def change(self, change: Apply) -> list[Action]:
        if not self.set_works:
            return self.machine.not_applied("no such set", Instant(self.now))
        self.held |= change.adds.keys()
        self.held -= change.removes.keys()
        return self.machine.applied(Instant(self.now))

    def to(self, now: float) -> None:
        """Timers run until then."""
        while (at := self.machine.next_timeout()) is not None and at <= now:
            self.now = max(self.now, at)
            self.do(self.machine.tick(Instant(self.now)))
        self.now = now

    def listed(self, listing: Listing = BY_DNS) -> None:
        self.do(self.machine.listed(listing, Instant(self.now)))

    def answered(self, *answers: IpAddress, refused: tuple[str, ...] = (), ttl: float = 60.0) -> None:
        self.do(self.machine.resolved(NAME, some(*answers, refused=refused, ttl=ttl), Instant(self.now)))

    def failed(self) -> None:
        self.do(self.machine.unresolved(NAME, "SERVFAIL", Instant(self.now)))

    def open_questions(self) -> int:
        return sum(isinstance(action, AskDns) for action in self.actions)

    def told(self) -> list[str]:
        return [action.kind for action in self.actions if isinstance(action, Tell)]


@pytest.fixture
def run() -> Run:
    """A set that holds an address out of DNS and one of the list."""
    run = Run()
    run.listed()
    run.answered(OLD)
    run.to(1.0)
    assert run.held == {OLD, OTHER}
    return run


def test_a_new_address_is_added_at_once_and_the_old_one_stays_for_its_time(run: Run) -> None:
    run.to(61.0)
    run.answered(NEW)
    assert run.held == {OLD, NEW, OTHER}
    run.to(130.0)
    run.answered(NEW)
    assert run.held == {OLD, NEW, OTHER}, "its time is not over"
    run.to(400.0)
    assert run.held == {OLD, NEW, OTHER}, "nobody has confirmed it"
    run.answered(NEW)
    assert run.held == {NEW, OTHER}


def test_an_answer_without_addresses_does_not_lengthen_the_time_of_the_old_ones(run: Run) -> None:
    run.to(61.0)
    run.answered(ttl=900.0)
    run.to(1000.0)
    run.answered(NEW)
    run.to(1310.0)
    run.answered(NEW)
    assert run.held == {NEW, OTHER}


def rotated(run: Run, parts: list[frozenset[IpAddress]], days: float, ttl: float) -> list[float]:
    """Each answer is one of the parts, by chance: when something was taken out."""
    random, removed = Random(3), []
    for _ in range(round(days * 86400 / ttl)):
        run.to(run.now + ttl)
        seen = len(run.actions)
        run.answered(*random.choice(parts), ttl=ttl)
        removed += [run.now for action in run.actions[seen:] if isinstance(action, Apply) and action.removes]
    return removed


@pytest.mark.parametrize("ttl", [60.0, 900.0])
def test_a_name_that_is_answered_with_another_part_each_time_soon_keeps_all_of_them(run: Run, ttl: float) -> None:
    """As load balancers do; and over restarts."""
    parts = [frozenset((ip_address(f"198.51.100.{n}"), ip_address(f"198.51.100.{n + 100}"))) for n in range(8)]
    rotated(run, parts, 1.0, ttl)
    assert run.held >= frozenset().union(*parts)
    again = Run(saved=run.machine.state(Instant(run.now)), held=run.held)
    again.listed()
    assert rotated(again, parts, 2.0, ttl) == []


def test_what_rotated_once_goes_when_it_does_not_come_back(run: Run) -> None:
    for at in range(60, 4000, 60):
        run.to(at)
        run.answered(OLD if at % 120 else NEW)
    for at in range(4020, 4020 + 90000, 60):
        run.to(at)
        run.answered(OLD)
    assert run.held == {OLD, OTHER}


def test_a_name_that_brings_new_addresses_without_end_does_not_fill_the_set(run: Run) -> None:
    """It brings back one of the old ones each time, so as to have all of them kept."""
    for n in range(1, 200):
        run.to(60.0 * n)
        run.answered(OLD if n % 2 else NEW, *(IPv4Address(0x2D000000 + 100 * n + k) for k in range(100)))
        assert len(run.held) < 1000


def test_a_name_that_is_listed_again_keeps_its_addresses_until_dns_has_answered(run: Run) -> None:
    """One bad list, and DNS that fails: the list knows nothing of what DNS named."""
    without = Listing((Wanted("listed.example.com", frozenset((OTHER,))),))
    run.listed(without)
    run.to(1000.0)
    run.listed()
    for at in range(1060, 3000, 60):
        run.to(at)
        run.failed()
        run.listed()
    assert run.held == {OLD, OTHER}
    run.answered(NEW)
    run.to(3400.0)
    run.answered(NEW)
    assert run.held == {NEW, OTHER}


def test_a_name_that_is_listed_again_keeps_its_addresses_over_a_restart(run: Run) -> None:
    run.listed(Listing((Wanted("listed.example.com", frozenset((OTHER,))),)))
    again = Run(saved=run.machine.state(Instant(run.now)), elapsed=1000.0, held=run.held)
    again.listed()
    again.failed()
    again.to(100.0)
    again.listed()
    assert again.held == {OLD, OTHER}


def test_a_name_that_comes_and_goes_before_dns_has_answered_leaves_nothing_behind(run: Run) -> None:
    without = Listing((Wanted("listed.example.com", frozenset((OTHER,))),))
    run.listed(without)
    run.to(60.0)
    run.listed()
    run.to(120.0)
    for at in range(120, 1000, 60):
        run.to(at)
        run.listed(without)
    assert run.held == {OTHER}


def test_a_rotating_name_that_is_listed_no_more_leaves_like_any_other(run: Run) -> None:
    for at in range(60, 4000, 60):
        run.to(at)
        run.answered(OLD if at % 120 else NEW)
    for at in range(4020, 6000, 60):
        run.to(at)
        run.listed(Listing((Wanted("listed.example.com", frozenset((OTHER,))),)))
    assert run.held == {OTHER}


def test_no_removal_is_ordered_while_something_is_missing(run: Run) -> None:
    run.to(61.0)
    run.answered(NEW)
    run.to(400.0)
    newer = ip_address("203.0.113.9")
    run.answered(newer)
    orders = [(set(a.adds), set(a.removes)) for a in run.actions if isinstance(a, Apply)]
    assert orders[-2:] == [({newer}, set()), (set(), {OLD})]


@pytest.mark.parametrize("what", ["failed", "empty", "refused"])
def test_no_answer_that_is_of_no_use_takes_anything_away(run: Run, what: str) -> None:
    for at in range(100, 4000, 130):
        run.to(float(at))
        if what == "failed":
            run.failed()
        else:
            run.answered(refused=("10.0.0.1 is not public",) if what == "refused" else ())
    assert run.held == {OLD, OTHER}
    assert any(not isinstance(action, Save) for action in run.actions)


def test_an_answer_with_a_refused_address_adds_the_good_ones_and_removes_none(run: Run) -> None:
    for at in (100.0, 800.0, 1600.0):
        run.to(at)
        run.answered(NEW, refused=("127.0.0.1 is not public",))
    assert run.held == {OLD, NEW, OTHER}
    assert "dns-refused" in run.told()


def test_a_lie_that_is_told_once_costs_nothing(run: Run) -> None:
    liar = ip_address("203.0.113.66")
    run.to(61.0)
    run.answered(liar)
    run.to(200.0)
    run.answered(OLD)
    run.to(501.0)
    run.answered(OLD)
    assert run.held == {OLD, OTHER}


def test_who_named_an_address_stands_by_it_though_the_list_drops_it(run: Run) -> None:
    """Two vouch for it, one lies once, the other drops out."""
    both = Listing((Wanted(NAME.name, ask=(4,)), Wanted("listed.example.com", frozenset((OTHER, OLD)))))
    run.listed(both)
    run.to(61.0)
    run.answered(NEW)
    run.listed(BY_DNS)
    for at in (500.0, 1000.0):
        run.to(at)
        run.listed(BY_DNS)
    assert OLD in run.held, "the answers have not been asked again"
    run.answered(NEW)
    assert OLD not in run.held


@pytest.mark.parametrize(
    "listing", [Listing(()), Listing((Wanted("x.example.com"),)), Listing((Wanted("y.example.com", ask=(4,)),), 3)]
)
def test_a_list_that_is_empty_or_older_is_not_believed(listing: Listing) -> None:
    run = Run()
    run.listed(Listing(BY_DNS.wanted, 4))
    run.answered(OLD)
    for at in (100.0, 800.0, 1600.0):
        run.to(at)
        run.listed(listing)
    assert run.held == {OLD, OTHER}
    assert run.machine.serial == 4
    assert "list-failed" in run.told()


def test_what_the_list_drops_goes_after_its_time_and_another_list(run: Run) -> None:
    shorter = Listing((Wanted("listed.example.com", frozenset((OTHER,))),))
    run.to(61.0)
    run.listed(shorter)
    run.to(400.0)
    assert run.held == {OLD, OTHER}
    run.listed(shorter)
    assert run.held == {OTHER}


def test_a_restart_fills_the_set_before_anybody_has_answered(run: Run) -> None:
    run.to(10.0)
    again = Run(saved=run.saved)
    assert again.held == {OLD, OTHER}
    again.do(again.machine.unlisted("no answer", Instant(0.0)))
    assert AskDns(NAME) in again.actions, "DNS is asked though the server is down"


def test_a_leaving_address_keeps_its_time_over_restarts(run: Run) -> None:
    run.to(61.0)
    run.answered(NEW)
    again = Run(saved=run.saved, elapsed=200.0)
    assert again.held == {OLD, NEW, OTHER}
    again.listed()
    again.to(50.0)
    again.answered(NEW)
    assert OLD in again.held
    again.to(120.0)
    again.answered(NEW)
    assert OLD not in again.held


def test_the_state_is_saved_before_the_set_changes(run: Run) -> None:
    kinds = [type(action) for action in run.actions if isinstance(action, (Save, Apply))]
    assert kinds[:2] == [Save, Apply]


def test_what_somebody_takes_out_is_put_back_within_a_minute(run: Run) -> None:
    run.held.clear()
    run.to(1.0 + run.settings.read_every)
    assert run.held == {OLD, OTHER}


def test_a_stranger_goes_after_its_time_once_all_names_are_known() -> None:
    stranger = ip_address("203.0.113.50")
    run = Run(held={stranger})
    run.listed()
    for at in (400.0, 800.0):
        run.to(at)
        run.listed()
    assert stranger in run.held, "it may be the address of the name that has not been answered yet"
    run.answered(OLD)
    run.to(1600.0)
    run.listed()
    assert run.held == {OLD, OTHER}


def test_a_stranger_has_its_time_over_restarts() -> None:
    """By a timer each run is a process of its own."""
    stranger = ip_address("203.0.113.50")
    first = Run(held={stranger})
    first.listed()
    first.answered(OLD)
    saved = first.machine.state(Instant(first.now))
    again = Run(saved=saved, elapsed=301.0, held=first.held)
    again.listed()
    again.answered(OLD)
    assert again.held == {OLD, OTHER}


def test_a_map_may_follow_on_a_feed_and_the_feed_on_it() -> None:
    run = Run(saved=Saved(serial=9))
    run.listed()
    run.answered(OLD)
    assert run.held == {OLD, OTHER}
    assert run.machine.serial == 9, "an older feed is an older one all the same"


def test_nothing_is_taken_out_where_nothing_is_known() -> None:
    stranger = ip_address("203.0.113.50")
    run = Run(held={stranger})
    run.listed(Listing((Wanted("derp1a.example.com", ask=(4,)),)))
    run.answered()
    for at in range(400, 4000, 400):
        run.to(float(at))
        run.listed(Listing((Wanted("derp1a.example.com", ask=(4,)),)))
        run.answered()
    assert run.held == {stranger}


def test_a_set_that_fails_is_read_before_it_is_touched_again() -> None:
    run = Run(set_works=False)
    run.listed()
    run.answered(OLD)
    run.to(30.0)
    assert run.told() == ["set-failed"], "one line for all failures in a row"
    run.set_works = True
    run.to(100.0)
    assert run.held == {OLD, OTHER}
    assert "set-back" in run.told()


def test_names_are_asked_again_within_a_quarter_of_an_hour_whatever_the_ttl(run: Run) -> None:
    run.to(61.0)
    run.answered(OLD, ttl=604800.0)
    before = run.open_questions()
    run.to(61.0 + 900.0)
    assert run.open_questions() == before + 1


def test_one_look_ends_when_each_name_was_asked_once_though_the_first_are_due_again() -> None:
    """With 10,000 names and a resolver that is slow, or dead, some are always due."""
    run = Run()
    run.listed(Listing(tuple(Wanted(f"derp{n}.example.com", ask=(4,)) for n in range(300))))
    asked = 0
    while run.machine.busy(Instant(run.now)):
        question = [action.question for action in run.actions if isinstance(action, AskDns)][asked]
        asked += 1
        run.now += 0.1  # for each answer: the last is asked long after the first was due again
        run.do(run.machine.unresolved(question, "refused", Instant(run.now)))
        assert asked <= 300 + AT_ONCE
    assert asked >= 300


def test_a_ttl_of_nothing_makes_no_flood(run: Run) -> None:
    run.to(61.0)
    run.answered(OLD, ttl=0.0)
    before = run.open_questions()
    run.to(61.0 + run.settings.ttl_least - 0.1)
    assert run.open_questions() == before


def test_the_list_is_asked_for_within_a_minute_and_sooner_after_a_failure() -> None:
    run = Run()
    run.do(run.machine.unlisted("no answer", Instant(0.0)))
    before = sum(isinstance(action, AskList) for action in run.actions)
    run.to(5.0)
    assert sum(isinstance(action, AskList) for action in run.actions) == before + 1


def test_an_answer_with_too_many_addresses_is_refused(run: Run) -> None:
    run.to(61.0)
    run.answered(*(IPv4Address(0xCB007200 + number) for number in range(300)))
    assert run.held == {OLD, OTHER}


def test_a_name_that_fills_the_set_makes_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one that has other addresses each time would keep every new address of others out for ever."""
    monkeypatch.setattr(sync, "MAX_ADDRESSES", 40)
    evil, good = Question("evil.example.com", 4), Question("good.example.com", 4)
    both = Listing((Wanted(evil.name, ask=(4,)), Wanted(good.name, ask=(4,))))
    many = [frozenset(IPv4Address(0xCB007100 + 9 * n + host) for host in range(9)) for n in range(100)]
    wide = frozenset(IPv4Address(0xC6336400 + host) for host in range(20))
    run, asked = Run(), 0
    run.listed(both)
    while run.now < 4000.0:
        for question in [action.question for action in run.actions if isinstance(action, AskDns)]:
            asked += question is evil or question == evil
            found = many[asked % 100] if question == evil and run.now < 1000.0 else wide
            run.do(run.machine.resolved(question, Answer(found, 15.0), Instant(run.now)))
        run.actions.clear()
        run.listed(both)
        assert len(run.held) <= 40
        run.to(run.now + 15.0)
    assert run.held == wide


def test_families_that_the_set_cannot_hold_are_neither_asked_for_nor_added() -> None:
    run = Run(Settings(families=(4,)))
    run.listed(Listing((Wanted("a.example.com", frozenset((SIX, OLD)), ask=FAMILIES),)))
    assert {a.question.family for a in run.actions if isinstance(a, AskDns)} == {4}
    run.to(10.0)
    assert run.held == {OLD}


def test_ten_thousand_regions_are_asked_for_in_turn_and_fit() -> None:
    run = Run()
    names = [f"derp{number}a.example.com" for number in range(10_000)]
    started = time.perf_counter()
    run.listed(Listing(tuple(Wanted(name, ask=FAMILIES) for name in names)))
    waiting = deque(action for action in run.actions if isinstance(action, AskDns))
    most = 0
    while waiting:
        most = max(most, len(waiting))
        question = waiting.popleft().question
        number = int(question.name[4:].partition("a")[0])
        one = ip_address(f"2001:db8::{number:x}") if question.family == 6 else IPv4Address(0x2D000000 + number)
        actions = run.machine.resolved(question, some(one, ttl=900.0), Instant(run.now))
        waiting += [action for action in actions if isinstance(action, AskDns)]
        run.do([action for action in actions if not isinstance(action, AskDns)])
    run.to(2.0)
    assert len(run.held) == 20_000
    assert most <= AT_ONCE
    assert time.perf_counter() - started < 60, "a bound against squares, not a measurement"
