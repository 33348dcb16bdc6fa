import pytest

from ginnel.lab import LabError
from ginnel.lab.kinds import KINDS, Traits, kind_named, meet


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
        ("hard-random", "hard-random", "relay"),
        ("hard-random+open-port", "hard-random", "direct"),
        ("hard-random+open-port", "udp-blocked", "relay"),
        ("none", "udp-blocked", "relay"),
        ("443-only", "443-only", "relay"),
    ],
)
def test_what_a_pair_comes_to_follows_from_its_kinds(a, b, path):
    assert meet(kind_named(a).traits, kind_named(b).traits) == path
    assert meet(kind_named(b).traits, kind_named(a).traits) == path


@pytest.mark.parametrize("words", ["", "soft", "easy+", "easy+wings", "none+hairpin", "udp-blocked+open-port"])
def test_a_kind_that_is_not_there_is_one_line(words):
    with pytest.raises(LabError) as refused:
        kind_named(words)
    assert "\n" not in str(refused.value)


def test_a_difference_names_the_claim_and_what_was_seen():
    claims = KINDS["easy"].traits
    assert claims.differences(claims) == []
    found = claims.differences(Traits(udp=False, early_probe_steals_port=None, open_port=None, routers=None))
    assert "udp: want True, saw False" in found
    assert "mapping: want endpoint-independent, saw None" in found


def test_changes_leave_the_kind_itself_alone():
    changed = kind_named("easy+hairpin+open-port")
    (router,) = changed.build("alice").routers
    assert router.hairpin
    assert [opened.port for opened in router.opened] == [41641]
    (plain,) = kind_named("easy").build("alice").routers
    assert not plain.hairpin
    assert not plain.opened
