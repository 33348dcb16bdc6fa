import pytest

from ginnel.lab.expected import TABLE, expected, expected_with_official, grid, left_to_chance
from ginnel.lab.kinds import KINDS, kind_named


def of(a, b, rule=expected):
    return rule(kind_named(a).traits, kind_named(b).traits)


@pytest.mark.parametrize(
    ("a", "b", "path"),
    [  # measured with official daemons, both orders
        ("none", "none", "direct"),
        ("none", "hard-random", "direct"),
        ("host-firewall-default-deny", "host-firewall-default-deny", "direct"),
        ("host-firewall-default-deny", "hard-random", "relay"),
        ("full-cone", "hard-random", "direct"),
        ("easy-address-dependent", "hard-random", "direct"),
        ("easy", "easy", "direct"),
        ("easy", "double-nat", "direct"),
        ("easy", "hard-random", "relay"),
        ("easy-bare", "easy-bare", "relay"),
        ("hard-random", "hard-random", "relay"),
        ("hard-random+open-port", "hard-random", "direct"),
        ("hard-random+open-port", "udp-blocked", "relay"),
        ("none", "udp-blocked", "relay"),
        ("443-only", "443-only", "relay"),
    ],
)
def test_a_pair_with_an_official_end_comes_to_what_was_measured_between_official_ends(a, b, path):
    assert of(a, b, expected_with_official).path == path
    assert of(b, a, expected_with_official).path == path


@pytest.mark.parametrize("easy", ["easy", "double-nat"])
def test_with_an_official_end_a_bare_nat_is_reached_for_certain_only_when_it_speaks_first(easy):
    assert of("easy-bare", easy, expected_with_official).path == "direct"
    assert not of("easy-bare", easy, left_to_chance)
    assert of(easy, "easy-bare", left_to_chance)
    assert of("easy-bare", "easy-bare", left_to_chance)
    assert not of("hard-random", "easy-bare", left_to_chance)


@pytest.mark.parametrize(
    ("a", "b", "technique", "within"),
    [
        ("none", "hard-random", "answer", 5),
        ("easy", "easy", "punch", 5),
        ("easy", "easy-bare", "quiet-punch", 35),
        ("easy-bare", "none", "answer", 5),
        ("easy", "hard-random", "birthday", 20),
        ("double-nat", "hard-random", "birthday", 20),
        ("host-firewall-default-deny", "hard-sequential", "prediction", 20),
        ("easy-bare", "hard-random", "birthday", 35),
        ("nat-pmp", "hard-random", "mapping", 5),
        ("pcp", "upnp", "mapping", 5),
        ("pcp", "none", "answer", 5),
        ("same-lan-no-hairpin", "same-lan-no-hairpin", "local", 5),
        ("same-lan-no-hairpin", "easy", "punch", 5),
        ("hard-random", "hard-random", "relay", None),
        ("hard-sequential", "hard-random", "relay", None),
        ("udp-blocked", "none", "relay", None),
        ("v6-stateful", "v6-only", "punch", 5),
        ("dual-hard", "dual-hard", "punch", 5),
        ("dual-hard", "none", "answer", 5),
        ("dual-hard", "easy", "birthday", 20),
        ("v6-only", "none", "relay", None),
    ],
)
def test_two_of_our_nodes_come_to_what_the_page_reasons(a, b, technique, within):
    for found in (of(a, b), of(b, a)):
        assert (found.technique, found.within) == (technique, within)


def test_every_pair_of_kinds_has_its_expectation():
    for a in KINDS:
        for b in KINDS:
            assert of(a, b) == of(b, a)
            assert (of(a, b).within is None) is (of(a, b).path == "relay")


def test_each_pair_of_roles_is_told_once():
    assert not {(b, a) for a, b in TABLE if a != b} & set(TABLE)


def test_the_grid_has_a_letter_for_each_ordered_pair():
    assert grid(["easy", "udp-blocked"]).splitlines() == [
        "| speaks first \\ answers | easy | noudp |",
        "| --- | --- | --- |",
        "| easy | P | r |",
        "| udp-blocked | r | r |",
    ]
