from dataclasses import dataclass

import pytest

from ginnel.lab import LabError
from ginnel.lab import judge as judging
from ginnel.lab.capture import Capture, Seen, telltale
from ginnel.lab.catalogue import SCENARIOS, scenario_named
from ginnel.lab.daemon import official
from ginnel.lab.instance import Lab
from ginnel.lab.judge import Run, judge
from ginnel.lab.kinds import network
from ginnel.lab.members import Way, way_in

RELAYED, DIRECT, NOTHING = Way("relay", region="lab"), Way("direct", "192.0.2.6:41641"), Way("none")


@dataclass
class Node:
    """A member whose path is what the test says."""

    name: str
    address: str
    way: Way

    def way_to(self, address: str) -> Way:
        return self.way


def run_of(name: str = "hard-hard") -> Run:
    return Run(scenario_named(name), lambda line: None)


def pair(a: Way, b: Way) -> tuple[Node, Node]:
    return Node("alice", "100.64.0.1", a), Node("bob", "100.64.0.2", b)


@pytest.mark.parametrize(
    ("a", "b", "passed"),
    [(RELAYED, RELAYED, True), (DIRECT, RELAYED, False), (RELAYED, DIRECT, False), (NOTHING, RELAYED, False)],
)
def test_a_pair_stays_relayed_only_if_both_ends_say_so(a, b, passed):
    run = run_of()
    run.stays_relayed(*pair(a, b), "stays-relayed", hold=0.05)
    assert [check.passed for check in run.checks] == [passed]


@pytest.mark.parametrize(
    ("a", "b", "direct"), [(DIRECT, DIRECT, True), (DIRECT, RELAYED, False), (RELAYED, DIRECT, False)]
)
def test_a_pair_is_direct_only_if_both_ends_say_so(a, b, direct, monkeypatch):
    monkeypatch.setattr(judging, "DIRECT_LIMIT", 0.05)
    started = judging.time.monotonic()
    assert (run_of().wait_for_direct(*pair(a, b), started) is not None) is direct


@pytest.mark.parametrize(
    ("peer", "way"),
    [
        ({"TailscaleIPs": ["100.64.0.2"], "CurAddr": "192.0.2.6:41641", "Relay": "lab", "Active": True}, DIRECT),
        ({"TailscaleIPs": ["100.64.0.2"], "CurAddr": "", "Relay": "lab", "Active": True}, RELAYED),
        ({"TailscaleIPs": ["100.64.0.2"], "CurAddr": "", "Relay": "lab", "Active": False}, NOTHING),
        ({"TailscaleIPs": ["100.64.0.3"], "CurAddr": "192.0.2.6:41641", "Active": True}, NOTHING),
        ({}, NOTHING),
    ],
)
def test_a_status_is_read_as_tailscale_means_it(peer, way):
    assert way_in({"Peer": {"nodekey:00": peer}}, "100.64.0.2") == way


@pytest.mark.root
@pytest.mark.usefixtures("leaves_nothing")
class TestAtTheRelay:
    SIZE = 1 << 16

    @pytest.mark.parametrize(
        ("seen", "passed"),
        [
            (Seen(frames=60, bytes=SIZE), True),
            (Seen(frames=60, bytes=SIZE, with_needle=1), False),
            (Seen(frames=60, bytes=SIZE, lost=1), False),
            (Seen(frames=1, bytes=SIZE - 1), False),
        ],
    )
    def test_plaintext_lost_frames_and_a_payload_that_went_elsewhere_all_fail(self, seen, passed):
        run = run_of()
        with Lab(network(a="none")) as lab:
            run.no_plaintext(lab, seen, self.SIZE)
        assert [(check.id, check.passed) for check in run.checks] == [("no-plaintext-at-relay", passed)]

    def test_a_capture_that_would_not_see_plaintext_proves_nothing(self, monkeypatch):
        class Blind(Capture):
            def __enter__(self):
                self.needle = telltale(1)[1]
                return super().__enter__()

        monkeypatch.setattr(judging, "Capture", Blind)
        run = run_of()
        with Lab(network(a="none")) as lab:
            run.no_plaintext(lab, Seen(frames=60, bytes=self.SIZE), self.SIZE)
        assert [check.passed for check in run.checks] == [False]

    def test_a_network_that_is_not_what_it_claims_fails_the_scenario_as_such(self, monkeypatch):
        from ginnel.lab import nats

        monkeypatch.setitem(nats.NATS, "hard-random", nats.NATS["easy"])
        outcome = judge(scenario_named("hard-hard"), lambda line: None)
        assert not outcome.passed
        assert [check.id for check in outcome.checks if not check.passed] == [
            "network-alice",
            "network-bob",
            "ran-to-the-end",
        ]
        assert outcome.pairs == []


@pytest.mark.root
@pytest.mark.usefixtures("leaves_nothing")
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_mesh_does_what_the_scenario_expects(name):
    if any(member.client == "official-daemon" for member in scenario_named(name).members):
        try:
            official("tailscaled")
        except LabError as error:
            pytest.skip(str(error))
    outcome = judge(scenario_named(name), lambda line: None)
    assert [check for check in outcome.checks if not check.passed] == []
    assert [pair.path for pair in outcome.pairs] == [pair.path for pair in scenario_named(name).pairs]
    assert outcome.passed
