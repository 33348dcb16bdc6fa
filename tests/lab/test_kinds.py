import pytest

from ginnel.lab import LabError
from ginnel.lab.kinds import KINDS, kind_named, network
from ginnel.lab.topology import NAME
from ginnel.lab.traits import Traits


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


def test_all_of_one_lan_share_its_router_and_its_neighbour():
    made = network(alice="same-lan-no-hairpin", bob="same-lan-no-hairpin", carol="easy")
    assert [router.name for router in made.routers] == ["nat-lan", "nat-carol"]
    assert [host.name for host in made.hosts if host.on == "nat-lan"] == ["next-door", "alice", "bob"]


def test_short_names_are_fit_for_hosts_and_their_routers():
    shorts = [kind.short for kind in KINDS.values()]
    assert len(set(shorts)) == len(shorts)
    assert all(NAME.match(f"nat-a-{short}") for short in shorts)
