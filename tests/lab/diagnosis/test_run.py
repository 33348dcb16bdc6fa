from dataclasses import replace
from typing import Any

import pytest

from ginnel.lab.diagnosis import run
from ginnel.lab.diagnosis.catalogue import FAULTS
from ginnel.lab.diagnosis.fault import View, nothing
from ginnel.lab.diagnosis.run import examine_one, judged

FAULT, FINE = FAULTS["relay-blocked-far"], FAULTS["healthy-homes"]
VIEW = View("alice", "relay-blocked", also=("relay-down",), names=("nyc", "911"))


def said(*causes: str, verdict: str = "degraded", about: str = "region nyc") -> dict[str, Any]:
    return {"verdict": verdict, "causes": [{"cause": cause, "evidence": [about]} for cause in causes]}


@pytest.mark.parametrize(
    ("answer", "top1", "top3", "named"),
    [
        (said("relay-blocked"), True, True, True),
        (said("relay-down", "udp-blocked"), True, True, True),
        (said("relay-blocked", about="a relay"), True, True, False),
        (said("udp-blocked", "dns-lies", "relay-blocked"), False, True, True),
        (said("udp-blocked", "dns-lies", "no-tun", "relay-blocked"), False, False, True),
        (said(), False, False, False),
        ({}, False, False, False),
    ],
)
def test_a_fault_is_found_where_its_cause_stands_among_those_that_were_said(answer, top1, top3, named):
    found = judged(VIEW, FAULT, answer, 1.0)
    assert (found.top1, found.top3, found.named) == (top1, top3, named)


@pytest.mark.parametrize(("verdict", "right"), [("degraded", True), ("broken", True), ("healthy", False), ("", False)])
def test_a_fault_must_not_be_called_healthy(verdict, right):
    assert judged(VIEW, FAULT, said("relay-blocked", verdict=verdict), 1.0).right_verdict is right


@pytest.mark.parametrize(("verdict", "right"), [("healthy", True), ("degraded", False), ("", False)])
def test_what_harms_nobody_is_told_and_stays_healthy(verdict, right):
    view = View("alice", "port80-blocked", informational=True)
    found = judged(view, FAULTS["port80-blocked"], said("port80-blocked", verdict=verdict), 1.0)
    assert found.top1
    assert found.right_verdict is right


@pytest.mark.parametrize(
    ("answer", "right"), [(said(verdict="healthy"), True), (said("udp-blocked"), False), (said(), False), ({}, False)]
)
def test_a_healthy_network_must_be_called_so(answer, right):
    assert judged(View("alice"), FINE, answer, 1.0).right_verdict is right


OPENED = View("bob", "peer-host-firewall", "alice", mend_at="alice", mend=("sudo ufw allow 41641/udp", "sudo nft "))


@pytest.mark.parametrize(
    ("fix", "right"),
    [
        ({"where": "alice", "command": "sudo ufw allow 41641/udp", "also": ""}, True),
        ({"where": "alice", "command": "sudo nft insert rule inet f input udp dport 41641 accept"}, True),
        ({"where": "bob", "command": "sudo ufw allow 41641/udp"}, False),
        ({"where": "alice", "command": "ufw allow 41641/udp"}, False),
        ({"where": "alice", "command": "", "also": "sudo ufw allow 41641/udp"}, False),
        (None, False),
    ],
)
def test_a_way_out_names_the_right_machine_and_a_command_that_helps_there(fix, right):
    answer = {"verdict": "degraded", "causes": [{"cause": "peer-host-firewall", "fix": fix}]}
    found = judged(OPENED, FAULTS["host-firewall"], answer, 1.0)
    assert (found.top1, found.mends, found.right) == (True, right, right)


def test_a_cause_that_was_not_found_has_no_way_out_and_where_none_is_asked_none_is_judged():
    other = {"verdict": "degraded", "causes": [{"cause": "no-tun", "fix": {"where": "alice", "command": "sudo nft "}}]}
    assert judged(OPENED, FAULTS["host-firewall"], other, 1.0).mends is False
    assert judged(replace(OPENED, mend=()), FAULTS["host-firewall"], other, 1.0).mends is False
    assert judged(VIEW, FAULT, other, 1.0).mends is None


@pytest.mark.root
def test_a_fault_is_in_force_when_it_is_done_and_else_it_is_not():
    done = examine_one(FAULT, 1, None, doctor=False)
    assert done.proved, done.proof or done.error
    undone = examine_one(replace(FAULT, inject=nothing), 1, None, doctor=False)
    assert (undone.proved, undone.error) == (False, "")
    assert "alice-derp-b:443 is False, not True" in undone.proof


class Refused:
    def __init__(self, *arguments: object) -> None:
        raise OSError("nothing stands here")


def test_a_seed_picks_the_networks_and_what_cannot_stand_is_told(monkeypatch):
    monkeypatch.setattr(run, "World", Refused)
    cases = [examine_one(FAULT, seed, None, doctor=True) for seed in (3, 3, *range(20))]
    assert cases[0].networks == cases[1].networks
    assert len({str(case.networks) for case in cases}) > 5
    assert {(case.proved, case.error, len(case.diagnoses)) for case in cases} == {(False, "nothing stands here", 0)}


class Surprised(Refused):
    def __init__(self, *arguments: object) -> None:
        raise KeyError("inet")


def test_a_fault_of_the_labs_own_costs_one_network_and_no_other(monkeypatch, caplog):
    monkeypatch.setattr(run, "World", Surprised)
    heard: list[str] = []
    cases = run.examine([FAULT, FINE], 1, heard.append, jobs=2, logs=None, doctor=True)
    assert [(case.name, case.proved, case.error) for case in cases] == [
        (fault.name, False, "a fault of the lab's own: KeyError: 'inet'") for fault in (FAULT, FINE)
    ]
    assert len(heard) == 2
    assert "a fault of the lab's own: relay-blocked-far" in caplog.text
