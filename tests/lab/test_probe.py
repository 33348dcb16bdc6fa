import pytest

from ginnel.lab.instance import Lab
from ginnel.lab.kinds import KINDS, kind_named, network
from ginnel.lab.probe import probe
from ginnel.lab.verify import verify

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("leaves_nothing")]
CHANGED = ["easy+hairpin", "full-cone+hairpin", "easy+open-port", "hard-random+open-port", "hard-sequential+open-port"]


@pytest.mark.parametrize("kind", [*KINDS, *CHANGED])
def test_a_kind_is_what_it_claims(kind):
    found = verify(kind)
    assert found.differences == []
    assert found.passed


def test_kinds_do_not_pass_for_each_other():
    """Else a claim that nobody checks would hide a broken rule."""
    traits = [kind_named(kind).traits for kind in [*KINDS, *CHANGED]]
    assert len(set(traits)) == len(traits)


def test_a_nat_that_is_not_what_it_claims_is_found_out():
    with Lab(network(a="easy")) as lab:
        lab.spaces["nat-a"].run(["nft", "flush", "chain", "ip", "lab", "input"])
        assert KINDS["easy"].traits.differences(probe(lab, "a")) == ["early_probe_steals_port: want False, saw True"]


def test_a_probe_leaves_no_mapping_behind_once_nats_are_reset():
    with Lab(network(a="full-cone")) as lab:
        probe(lab, "a")
        router = lab.spaces["nat-a"]
        assert "elements" in router.run(["nft", "list", "map", "ip", "lab", "cone"])
        lab.reset_nats()
        assert "elements" not in router.run(["nft", "list", "map", "ip", "lab", "cone"])
        assert "udp" not in router.run(["conntrack", "-L"])


def test_a_router_that_answers_the_wrong_mapping_protocol_is_found_out():
    with Lab(network(a="nat-pmp")) as lab:
        router = lab.spaces["nat-a"]
        router.run(["nft", "flush", "chain", "ip", "lab", "input"])
        claims = KINDS["nat-pmp"].traits
        assert claims.differences(probe(lab, "a")) == ["maps_by: want nat-pmp, saw nat-pmp and pcp"]


def test_a_mapping_through_which_nothing_comes_is_found_out():
    with Lab(network(a="upnp")) as lab:
        lab.spaces["nat-a"].run(["nft", "flush", "chain", "inet", "miniupnpd", "pre"])
        assert KINDS["upnp"].traits.differences(probe(lab, "a")) == ["maps_by: want upnp, saw upnp, in vain"]


def test_routers_know_no_mapping_once_they_are_reset():
    with Lab(network(a="pcp")) as lab:
        probe(lab, "a")
        assert "dnat" in lab.spaces["nat-a"].run(["nft", "list", "chain", "inet", "miniupnpd", "mapped"])
        lab.reset_nats()
        assert "dnat" not in lab.spaces["nat-a"].run(["nft", "list", "chain", "inet", "miniupnpd", "mapped"])
        assert probe(lab, "a").maps_by == "pcp"
