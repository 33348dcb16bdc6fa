import threading

import pytest

from ginnel.lab import LabError, cell, moves
from ginnel.lab.faults import Faults
from ginnel.lab.matrix import WITH_OFFICIAL, Matrix, Turns, matrices, run_matrix
from ginnel.lab.summary import holds

KINDS = ("easy", "none", "udp-blocked", "same-lan-no-hairpin")


def test_each_kind_stands_once_for_those_who_speak_first_and_once_for_those_spoken_to():
    made = Matrix(("easy", "udp-blocked")).scenario()
    assert [member.name for member in made.members] == ["a-easy", "a-noudp", "b-easy", "b-noudp"]
    assert [(pair.a, pair.b, pair.path) for pair in made.pairs] == [
        ("a-easy", "b-easy", "direct"),
        ("a-easy", "b-noudp", "relay"),
        ("a-noudp", "b-easy", "relay"),
        ("a-noudp", "b-noudp", "relay"),
    ]


def test_no_two_ordered_pairs_share_both_ends():
    cells = Matrix().cells()
    assert len(cells) == 196
    assert len({(cell.pair.a, cell.pair.b) for cell in cells}) == 196


def test_official_clients_are_tried_at_either_end_and_expected_to_do_what_they_can():
    made = matrices(official=True)
    assert [one.clients for one in made] == list(WITH_OFFICIAL)
    cells = {cell.name: cell for cell in made[0].cells()}
    assert cells["easy/hard-random:official-daemon"].expected.path == "relay"
    assert cells["easy/double-nat:official-daemon"].expected.path == "direct"
    assert cells["easy-bare/easy:official-daemon"].expected.path == "direct"
    assert "easy/easy-bare:official-daemon" not in cells, "it is direct in one of 20 runs"
    assert sum(len(one.cells()) for one in made) == 88
    with pytest.raises(LabError, match="add a kind"):
        matrices(["easy-bare"], official=True)
    assert len(matrices(["easy-bare"])[0].cells()) == 1


def test_runs_have_names_of_their_own():
    names = [cell.name for one in matrices(["easy"], runs=3) for cell in one.cells()]
    assert names == ["easy/easy", "easy/easy#2", "easy/easy#3"]


def test_a_kind_and_what_was_changed_on_it_can_stand_together():
    Matrix(("easy", "easy+hairpin", "hard-random+open-port")).scenario().topology()


def test_an_unknown_kind_is_one_line():
    with pytest.raises(LabError, match="no such kind of network: soft"):
        matrices(["easy", "soft"])


def test_pairs_that_share_a_host_never_run_at_once_and_none_is_forgotten():
    turns, seen, lock, clashes = Turns(Matrix(KINDS).cells()), [], threading.Lock(), []
    running: set[str] = set()

    def work() -> None:
        while (cell := turns.take()) is not None:
            with lock:
                clashes.extend(running & cell.hosts)
                running.update(cell.hosts)
                seen.append(cell.name)
            with lock:
                running.difference_update(cell.hosts)
            turns.give_back(cell)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert clashes == []
    assert sorted(seen) == sorted(cell.name for cell in Matrix(KINDS).cells())


def test_what_takes_longest_begins_first():
    first = Turns(Matrix(("easy", "easy-bare", "hard-random")).cells()).take()
    assert first is not None
    assert first.expected.within == 35


@pytest.mark.root
@pytest.mark.usefixtures("leaves_nothing")
class TestInTheLab:
    def test_ordinary_networks_are_as_expected_and_timed_at_both_ends(self, monkeypatch):
        monkeypatch.setattr(cell, "RELAY_HOLD", 1.0)
        outcomes = run_matrix(Matrix(KINDS), lambda line: None, jobs=4)
        assert [(o.name, [check for check in o.checks if not check.passed]) for o in outcomes if not o.passed] == []
        assert holds(outcomes)
        pairs = {outcome.name: outcome.pairs[0] for outcome in outcomes}
        assert pairs["same-lan-no-hairpin/same-lan-no-hairpin"].technique == "local"
        assert pairs["easy/easy"].technique == "punch"
        assert pairs["easy/none"].technique == "answer"
        direct = [pair for pair in pairs.values() if pair.path == "direct"]
        assert len(direct) == 9
        assert all(pair.seconds_to_direct_a is not None and pair.seconds_to_direct_b is not None for pair in direct)
        assert all(pair.to_direct.stream_lives and pair.to_relay.stream_lives for pair in direct)
        assert {pair.to_relay.path for pair in direct} == {"relay"}
        assert all(pair.to_relay.datagrams_lost > 0 and pair.to_relay.seconds is not None for pair in direct)
        assert all(pair.to_direct is None for pair in pairs.values() if pair.path != "direct")

    def test_ipv6_makes_direct_what_ipv4_cannot(self, monkeypatch):
        monkeypatch.setattr(cell, "RELAY_HOLD", 1.0)
        outcomes = run_matrix(Matrix(("v6-only", "dual-hard")), lambda line: None, jobs=4)
        assert [(o.name, [check for check in o.checks if not check.passed]) for o in outcomes if not o.passed] == []
        assert {(o.pairs[0].path, o.pairs[0].technique) for o in outcomes} == {("direct", "punch")}
        assert all(o.pairs[0].endpoint.startswith("[2001:db8:") for o in outcomes)
        assert {o.pairs[0].to_relay.path for o in outcomes} == {"relay"}

    def test_a_stream_that_cannot_go_back_to_the_relay_fails_its_pair(self, monkeypatch):
        monkeypatch.setattr(moves, "MOVE_LIMIT", 3.0)
        part = Faults.part

        def part_from_the_relay_too(faults, a, b):
            part(faults, a, b)
            faults.lab.spaces[a].run(["nft", "add", "rule", "inet", "lab", "faults", "meta", "l4proto", "tcp", "drop"])

        monkeypatch.setattr(Faults, "part", part_from_the_relay_too)
        (outcome,) = run_matrix(Matrix(("none",)), lambda line: None)
        assert [check.id for check in outcome.checks if not check.passed] == ["stream-moves-to-relay"]
        assert not outcome.pairs[0].to_relay.stream_lives
        assert not holds([outcome])

    def test_moves_can_be_left_out(self):
        (outcome,) = run_matrix(Matrix(("none",), moves=False), lambda line: None)
        assert (outcome.passed, outcome.pairs[0].to_direct, outcome.pairs[0].to_relay) == (True, None, None)

    def test_a_network_that_is_not_what_it_claims_fails_every_pair(self, monkeypatch):
        from ginnel.lab import nats

        monkeypatch.setitem(nats.NATS, "easy", nats.NATS["full-cone"])
        outcomes = run_matrix(Matrix(("easy",)), lambda line: None)
        assert [outcome.passed for outcome in outcomes] == [False]
        assert "a-easy is not in easy" in outcomes[0].checks[0].detail

    def test_a_pair_that_is_not_as_expected_fails_with_the_facts_that_decided(self, monkeypatch):
        from ginnel.lab import expected

        monkeypatch.setattr(expected, "ORDINARY", 1.0)
        monkeypatch.setitem(expected.TABLE, ("hard", "hard"), "punch")
        outcomes = {o.name: o for o in run_matrix(Matrix(("hard-random",)), lambda line: None)}
        (failed,) = [check for check in outcomes["hard-random/hard-random"].checks if not check.passed]
        assert failed.id == "direct-within-1-s"
        assert "a-hard advertises 198.51.100.6:" in failed.detail
        assert "nat-b-hard maps towards it 192.168.12.10:41641>" in failed.detail
