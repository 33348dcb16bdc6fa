"""A visit ends in time with a diagnosis, whatever the daemon does. No network is asked: the daemon knows no relays."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from ginnel.core.doctor.diagnosis import Diagnosis
from ginnel.shell.doctor import asking, gather, visit
from ginnel.shell.doctor.asking import Refused, Unanswered
from ginnel.shell.doctor.visit import NO_LAST_WORD, NO_NET_CHECK, NO_PAIR, CannotLook, Visit
from tests.core.doctor.world import NETWORK

DAEMON = {
    "State": "Running", "Version": "0.1.0", "Port": 41641, "WantedPort": 41641, "Tun": "ginnel0", "ControlURL": "",
    "ControlConnected": True, "ControlAddress": "", "ControlProblem": "", "KeyExpired": False, "TunnelProblem": "",
    "Health": [], "ClockAhead": 0.2,
}  # fmt: skip
ALICE = {"DNSName": "alice.mesh.", "TailscaleIPs": ["100.64.0.1"], "Online": True}
BOB = {"DNSName": "bob.mesh.", "TailscaleIPs": ["100.64.0.2"], "Online": True, "Relay": ""}
NODE = {
    "ID": 2,
    "StableID": "n2",
    "User": 1,
    "Name": "bob.mesh.",
    "Addresses": ["100.64.0.2/32"],
    "Online": True,
    "Key": "nodekey:" + "02" * 32,
}
PONG = {"Err": "", "Endpoint": "203.0.113.7:41641", "DERPRegionCode": ""}
ANSWERS: dict[str, Any] = {
    "status": {"Self": ALICE, "Peer": {"bob": BOB}, "TailscaleIPs": ["100.64.0.1"], "BackendState": "Running",
               "Version": "0.0.9"},
    "doctor": {"Daemon": DAEMON, "Own": NETWORK, "Theirs": None, "By": "", "Silence": ""},
    "prefs": {}, "derpmap": {"Regions": {}}, "debug-inside": {}, "whois": {"Node": NODE}, "netcheck": {}, "ping": PONG,
}  # fmt: skip
TIMES = {"WHOLE": 1.6, "KNOWN_TIME": 0.8, "PING_TIME": 0.3, "NETCHECK_TIME": 0.4, "WITNESS_TIME": 0.2,
         "WITNESS_LEAST": 0.1, "PAIR_TIME": 0.5}  # fmt: skip
never = Event()


def hangs(seconds: float) -> Any:
    """As a socket with a time-out does."""
    never.wait(seconds)
    raise Unanswered("ginneld is there and does not answer")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program began just now, and nobody here has anything to do with relays."""
    for name, seconds in TIMES.items():
        monkeypatch.setattr(visit, name, seconds)
    monkeypatch.setattr(visit, "running_for", lambda: 0.0)
    monkeypatch.setattr(gather.machine, "links", lambda _: None)


async def examine(peer: str | None = None, **instead: Callable[[float], Any]) -> Diagnosis:
    """`instead`: what becomes of questions by the name of that, in place of an answer."""

    def ask(_: str, name: str, seconds: float) -> Any:
        word = "pair" if name.startswith("doctor?peer") else name.partition("?")[0]
        return instead[word](seconds) if word in instead else ANSWERS["doctor" if word == "pair" else word]

    def find(status: dict[str, Any], wanted: str) -> dict[str, Any] | None:
        named = {"alice": status["Self"], "bob": status["Peer"]["bob"]}
        return named.get(wanted)

    began = time.monotonic()
    diagnosis, _ = await Visit(ask, find, Path("/nonexistent")).examine(peer)
    assert time.monotonic() - began < visit.WHOLE + 1.0, "beyond the end"
    return diagnosis


def unlooked(diagnosis: Diagnosis) -> set[str]:
    return {line.removeprefix("not looked at: ") for finding in diagnosis.findings if finding.cause == "not-looked-at"
            for line in finding.evidence if "none is known here" not in line}  # fmt: skip


@pytest.mark.parametrize("peer", [None, "bob"])
async def test_a_daemon_that_answers_leaves_nothing_that_was_not_looked_at(peer: str | None) -> None:
    said = await examine(peer)
    assert unlooked(said) == set()
    assert said.verdict == "unknown", "it knows no server and no relay"


async def test_a_net_check_without_an_end_is_told_and_is_not_health() -> None:
    said = await examine(netcheck=hangs)
    assert unlooked(said) == {NO_NET_CHECK}
    assert said.verdict == "unknown"


async def test_a_daemon_that_stops_to_answer_is_told_and_is_not_health() -> None:
    """The first question is the brief one."""
    answers = [ANSWERS["doctor"]]
    said = await examine(doctor=lambda seconds: answers.pop() if answers else hangs(seconds))
    assert unlooked(said) == {NO_LAST_WORD}
    assert said.verdict == "unknown"


async def test_a_pair_of_which_neither_end_speaks_in_time_is_told() -> None:
    said = await examine("bob", pair=hangs)
    assert unlooked(said) == {NO_PAIR}
    assert (said.verdict, said.path) == ("unknown", "direct")


async def test_pings_that_hang_leave_time_for_the_rest() -> None:
    said = await examine("bob", ping=hangs)
    assert (said.verdict, said.path, unlooked(said)) == ("broken", "none", set())


@pytest.mark.parametrize("deaf", ["status", "doctor", "prefs"])
async def test_a_daemon_that_is_there_and_hangs_is_down(deaf: str) -> None:
    said = await examine("bob", **{deaf: hangs})
    assert (said.verdict, said.findings[0].cause) == ("broken", "daemon-down")
    assert "does not answer" in said.findings[0].evidence[0]


async def test_a_daemon_of_before_the_doctor_was_not_restarted() -> None:
    def unknown(_: float) -> Any:
        raise Refused("no such endpoint")

    said = await examine(doctor=unknown)
    assert [finding.cause for finding in said.findings][:1] == ["old-version"]
    assert "0.0.9" in said.findings[0].evidence[0]


async def test_who_asks_about_the_own_machine_is_told_how() -> None:
    with pytest.raises(CannotLook, match="'alice' is this machine: `ginnel doctor` alone looks at it"):
        await examine("alice")


def test_the_interpreters_own_start_counts() -> None:
    assert 0.0 < asking.running_for() <= asking.STARTING_MOST
