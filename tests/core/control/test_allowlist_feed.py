"""What stands in the allowlist feed, since when and until when, under a clock of the test's own."""

from dataclasses import replace
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.control.allowlist_entries import tokens
from ginnel.core.control.allowlist_feed import PENDING_KEPT, AllowlistFeed, FeedRules
from ginnel.core.control.allowlist_text import text_of
from ginnel.wire import allowlist
from ginnel.wire.allowlist import Entry, Feed
from ginnel.words import WallTime

RULES = FeedRules(before=900.0, grace=3600.0, lifetime=86400.0, remade=10800.0)
URL = "https://vpn.example.com"
START = 1_800_000_000.0
CONTROL = Entry("vpn.example.com", "SNI", "control", ("443/tcp",))


def relay(number: int, host: int = 0, ports: tuple[str, ...] = ("443/tcp", "3478/udp")) -> Entry:
    address = IPv4Address(f"203.0.113.{host or number}")
    return Entry(f"r{number}.example.net", "SNI", "relay", ports, (address,), (), "fast", number, "fra", f"{number}a")


def at(seconds: float) -> WallTime:
    return WallTime(START + seconds)


def made(*entries: Entry, rules: FeedRules = RULES) -> AllowlistFeed:
    feed = AllowlistFeed(URL, rules)
    feed.changed((CONTROL, *entries), {entry.node for entry in entries}, at(0))
    feed.feed(at(0))
    return feed


def test_the_serial_rises_with_each_change_and_stays_while_nothing_changes() -> None:
    feed = made(relay(1))
    first = feed.feed(at(1))
    assert feed.feed(at(2)) is first
    feed.changed((CONTROL, relay(1), relay(2)), {"1a", "2a"}, at(2))
    second = feed.feed(at(2))
    feed.changed((CONTROL, relay(1), relay(2), relay(3)), {"1a", "2a", "3a"}, at(2))
    third = feed.feed(at(2))
    assert first.serial < second.serial < third.serial


def test_a_feed_that_does_not_change_is_made_anew_long_before_it_expires() -> None:
    feed = made(relay(1))
    first = feed.feed(at(0))
    again = feed.feed(at(RULES.remade))
    assert (again.serial, again.entries) == (first.serial, first.entries)
    assert again.expires == first.expires + RULES.remade
    assert feed.feed(at(-100)).made == START - 100, "nor is one from the future kept when the clock is set right"


def test_a_restart_goes_on_with_the_serial_and_a_lost_state_with_a_higher_one() -> None:
    feed = made(relay(1))
    last = feed.feed(at(0))
    restarted = AllowlistFeed(URL, RULES, last)
    restarted.changed(last.entries, {"1a"}, at(5))
    assert restarted.feed(at(5)) is last
    lost = AllowlistFeed(URL, RULES)
    lost.changed(last.entries, {"1a"}, at(60))
    assert lost.feed(at(60)).serial > last.serial


def test_a_new_relay_is_announced_before_the_map_may_name_it() -> None:
    feed = made(relay(1))
    ready = feed.ready(relay(2), at(10))
    assert 910 <= ready - START <= 912
    told = feed.feed(at(10))
    assert [(entry.node, entry.use_after) for entry in told.pending] == [("2a", int(ready))]
    assert relay(2) not in told.entries
    assert feed.ready(relay(2), at(500)) == ready, "asking again does not begin anew"
    assert feed.ready(relay(2), WallTime(ready + 1)) == ready + 1
    feed.changed((CONTROL, relay(1), relay(2)), {"1a", "2a"}, WallTime(ready + 1))
    assert feed.feed(WallTime(ready + 1)).pending == ()


def test_without_announcement_nobody_waits() -> None:
    feed = made(relay(1), rules=FeedRules())
    assert feed.ready(relay(2), at(10)) == at(10)
    assert feed.feed(at(10)).pending == ()


def test_an_announcement_goes_on_over_a_restart() -> None:
    feed = made(relay(1))
    ready = feed.ready(relay(2), at(10))
    restarted = AllowlistFeed(URL, RULES, feed.feed(at(10)))
    restarted.changed((CONTROL, relay(1)), {"1a", "2a"}, at(60))
    assert restarted.ready(relay(2), at(60)) == ready


def test_another_address_of_an_announced_relay_is_announced_anew() -> None:
    feed = made(relay(1))
    ready = feed.ready(relay(2), at(10))
    assert feed.ready(relay(2, host=77), at(600)) > ready
    assert [str(entry.ipv4[0]) for entry in feed.feed(at(600)).pending] == ["203.0.113.77"]


def test_port_80_alone_is_nothing_to_wait_for() -> None:
    feed = made(relay(1))
    assert feed.ready(relay(1, ports=("443/tcp", "3478/udp", "80/tcp")), at(10)) == at(10)


def test_an_announced_relay_that_is_removed_or_never_comes_is_withdrawn() -> None:
    feed = made(relay(1))
    feed.ready(relay(2), at(0))
    feed.changed((CONTROL, relay(1)), {"1a"}, at(10))
    assert feed.feed(at(10)).pending == ()
    ready = feed.ready(relay(2), at(20))
    late = WallTime(ready + max(RULES.grace, PENDING_KEPT))
    assert feed.feed(late).pending
    assert feed.feed(WallTime(late + 1)).pending == ()


def test_what_leaves_the_map_stays_for_the_grace_and_may_come_back_within_it() -> None:
    feed = made(relay(1), relay(2))
    feed.changed((CONTROL, relay(1)), {"1a", "2a"}, at(100))
    told = feed.feed(at(100))
    assert [(entry.node, entry.until) for entry in told.leaving] == [("2a", START + 3700)]
    assert relay(2).ipv4[0] in {ip for entry in told.allowed() for ip in entry.addresses}
    assert feed.ready(relay(2), at(3699)) == at(3699), "firewalls have it still"
    assert feed.feed(at(3701)).leaving == ()
    assert feed.feed(at(3701)).serial > told.serial
    assert feed.ready(relay(2), at(3701)) > at(3701)


def test_a_relay_that_comes_back_leaves_no_more() -> None:
    feed = made(relay(1), relay(2))
    feed.changed((CONTROL, relay(1)), {"1a", "2a"}, at(100))
    feed.changed((CONTROL, relay(1), relay(2)), {"1a", "2a"}, at(200))
    assert feed.feed(at(200)).leaving == ()


def test_each_address_that_a_relay_had_lately_is_let_through() -> None:
    feed = made(relay(1, host=11))
    feed.changed((CONTROL, relay(1, host=12)), {"1a"}, at(10))
    feed.changed((CONTROL, relay(1, host=13)), {"1a"}, at(20))
    told = feed.feed(at(20))
    allowed = {str(ip) for entry in told.allowed() for ip in entry.addresses}
    assert allowed == {f"203.0.113.{n}" for n in (11, 12, 13)}


def test_what_went_while_the_server_was_down_leaves_with_grace_as_well() -> None:
    last = made(relay(1), relay(2)).feed(at(0))
    restarted = AllowlistFeed(URL, RULES, last)
    restarted.changed((CONTROL, relay(1)), {"1a"}, at(50))
    assert [entry.node for entry in restarted.feed(at(50)).leaving] == ["2a"]


def test_a_map_beyond_all_bounds_keeps_the_last_feed() -> None:
    feed = made(relay(1))
    last = feed.feed(at(0))
    feed.changed((relay(1),) * (allowlist.MAX_ENTRIES + 1), {"1a"}, at(1))
    assert "the last stays" in feed.problem
    assert feed.feed(at(1)) is last


@given(st.lists(st.tuples(st.sets(st.integers(1, 4)), st.integers(1, 3000)), max_size=12))
def test_nothing_vanishes_sooner_than_the_grace_and_serials_never_fall(steps: list[tuple[set[int], int]]) -> None:
    """Against a naive twin: for each way, when it was in the map last."""
    feed, now, serial = made(), 0.0, 0
    last_in: dict[str, float] = {}
    for numbers, pause in steps:
        now += pause
        for token in (token for token, seen in list(last_in.items()) if now < seen + RULES.grace - 1):
            assert token in _allowed(feed.feed(at(now)))
        before = {token for entry in feed.feed(at(now)).entries for token in tokens(entry)}
        last_in |= dict.fromkeys(before, now)
        entries = tuple(relay(n, host=n + 10 * (pause % 2)) for n in sorted(numbers))
        feed.changed((CONTROL, *entries), {entry.node for entry in entries}, at(now))
        told = feed.feed(at(now))
        assert told.serial >= serial
        serial = told.serial
        assert before <= _allowed(told), "what just left is let through"
        assert all(entry.until > at(now) for entry in told.leaving)


def _allowed(feed: Feed) -> set[str]:
    return {token for entry in feed.allowed() for token in tokens(entry)}


def test_plain_lists_have_each_line_once_and_nothing_else() -> None:
    everything = replace(relay(9, host=1), name="derp1-all.zone.example", level="L3", region=1, node="")
    feed = made(relay(1), relay(2), everything)
    feed.ready(relay(3), at(1))
    told = feed.feed(at(1))
    assert text_of(told, "l3").decode().split() == ["203.0.113.1", "203.0.113.2", "203.0.113.3"]
    assert text_of(told, "l3", "6") == b""
    assert text_of(told, "sni").decode().split() == [
        "vpn.example.com", "r1.example.net", "r2.example.net", "r3.example.net",
    ]  # fmt: skip
    assert text_of(told, "fqdn").decode().split() == [
        "vpn.example.com", "r2.example.net", "derp1-all.zone.example", "r3.example.net",
    ]  # fmt: skip
