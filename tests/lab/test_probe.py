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
