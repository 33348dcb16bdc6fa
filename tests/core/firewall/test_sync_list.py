"""From hosts and feeds to what is wanted."""

from ipaddress import ip_address

from ginnel.core.firewall.hosts import Trust
from ginnel.core.firewall.needs import Host, Level, Role
from ginnel.core.firewall.sync_list import by_name, listing_of_feed, listing_of_hosts, problem_of, questions_of
from ginnel.core.firewall.sync_words import MAX_NAMES, Listing, Question, Wanted
from ginnel.wire.allowlist import Entry, Feed

V4, V6 = ip_address("203.0.113.5"), ip_address("2001:db8::5")


def relay(name: str, *addresses: object, level: Level = Level.SNI, role: Role = Role.RELAY) -> Host:
    return Host(name, level, role, (), tuple(addresses))  # type: ignore[arg-type]


def test_dns_is_asked_for_names_beside_the_maps_addresses() -> None:
    listing = listing_of_hosts([relay("derp1a.example.com", V4), relay("", V6)])
    named, nameless = listing.wanted
    assert named == Wanted("derp1a.example.com", frozenset((V4,)), (4, 6))
    assert nameless == Wanted("", frozenset((V6,)))


def test_the_name_of_a_region_may_be_missing() -> None:
    (one,) = listing_of_hosts([relay("derp1-all.example.com", V4, V6, level=Level.L3)]).wanted
    assert one.ask == (4, 6)
    assert not one.needed


def test_roles_that_are_not_wanted_are_left_out() -> None:
    hosts = [relay("derp1a.example.com"), relay("login.example.com", role=Role.LOGIN)]
    assert [one.name for one in listing_of_hosts(hosts, frozenset((Role.LOGIN,))).wanted] == ["login.example.com"]


def test_what_a_feed_announces_and_what_leaves_it_is_let_through() -> None:
    entries = [Entry(f"derp{n}a.example.com", "SNI", "relay", (), (ip_address(f"203.0.113.{n}"),)) for n in (1, 2, 3)]
    feed = Feed("https://mesh.example.com", 9, 1, 2, (entries[0],), (entries[1],), (entries[2],))
    listing, refused = listing_of_feed(feed, Trust())
    assert {str(ip) for one in listing.wanted for ip in one.addresses} == {"203.0.113.1", "203.0.113.2", "203.0.113.3"}
    assert listing.serial == 9
    assert not refused


def test_a_signed_feed_with_private_addresses_is_not_believed_in_these() -> None:
    bad = Entry("derp1a.example.com", "SNI", "relay", (), (ip_address("10.0.0.1"), ip_address("203.0.113.1")))
    listing, refused = listing_of_feed(Feed("", 1, 1, 2, (bad,)), Trust())
    assert listing.wanted[0].addresses == {ip_address("203.0.113.1")}
    assert "10.0.0.1" in refused[0]


def test_several_lines_of_one_name_are_joined() -> None:
    joined = by_name([Wanted("a.example.com", frozenset((V4,)), (6,)), Wanted("a.example.com", ask=(4,), needed=False)])
    assert joined["a.example.com"].addresses == {V4}
    assert joined["a.example.com"].needed
    assert questions_of(joined.values(), (6,)) == {Question("a.example.com", 6)}


def test_a_list_that_is_too_long_is_a_problem() -> None:
    long = Listing(tuple(Wanted(f"h{number}.example.com", ask=(4,)) for number in range(MAX_NAMES + 1)))
    assert str(MAX_NAMES) in problem_of(long, 0)
