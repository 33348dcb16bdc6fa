from __future__ import annotations

import pytest
from click.testing import CliRunner

from ginnel.cli.commands import ginnel
from ginnel.cli.path import lines

BOB = {
    "ID": "n2",
    "PublicKey": "nodekey:b",
    "DNSName": "bob.mesh.example.",
    "HostName": "bob",
    "TailscaleIPs": ["100.64.0.2"],
}
EVE = {
    "ID": "n3",
    "PublicKey": "nodekey:e",
    "DNSName": "eve.mesh.example.",
    "HostName": "eve",
    "TailscaleIPs": ["100.64.0.3"],
}
STATUS = {
    "Self": {"ID": "n1", "PublicKey": "nodekey:a", "DNSName": "al.mesh.example.", "HostName": "al", "TailscaleIPs": []},
    "MagicDNSSuffix": "mesh.example", "Peer": {"nodekey:e": EVE, "nodekey:b": BOB},
}  # fmt: skip
PREFS = {"PathPolicy": "auto", "PathPolicies": {"n3": "direct"}}
WAYS = {
    "nodekey:b": {"CurAddr": "192.0.2.2:41641", "LatencySeconds": 0.0402, "WireMTU": 1340, "Shunned": {}},
    "nodekey:e": {
        "CurAddr": "", "LatencySeconds": None, "WireMTU": 0, "Shunned": {"192.0.2.3:41641": "loses large packets"},
    },
}  # fmt: skip


def test_everybody_in_touch_or_with_a_policy_of_its_own_is_shown() -> None:
    assert lines(STATUS, PREFS, WAYS, None) == [
        "default: auto",
        "bob: auto; direct 192.0.2.2:41641, 40.2 ms, wire MTU 1340",
        "eve: direct; not by 192.0.2.3:41641 for now: it loses large packets",
    ]


def test_a_peer_that_is_asked_for_is_shown_in_any_case() -> None:
    assert lines(STATUS, PREFS, {}, "bob") == ["bob: auto"]
    assert lines(STATUS, PREFS | {"PathPolicy": "relay"}, {}, "bob") == ["bob: relay"]


def test_a_peer_that_is_reached_by_a_relay_is_told_so() -> None:
    relayed = STATUS | {"Peer": {"nodekey:b": BOB | {"Active": True, "Relay": "own"}}}
    assert lines(relayed, PREFS, {}, "bob") == ["bob: auto; by relay own"]
    assert lines(relayed, PREFS, WAYS, "bob") == ["bob: auto; direct 192.0.2.2:41641, 40.2 ms, wire MTU 1340"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["path", "bob", "--default", "relay"], "--default is for all peers: leave PEER out"),
        (["ping", "bob", "-c", "-3"], "-3 is not in the range x>=0"),
        (["ping", "bob", "--size", "99999"], "99999 is not in the range 0<=x<=9000"),
        (["lab", "matrix", "--one-way", "-5"], "-5.0 is not in the range 0<=x<=1000"),
    ],
)
def test_what_has_no_meaning_is_refused_before_anything_is_done(words: list[str], said: str) -> None:
    done = CliRunner().invoke(ginnel, words)
    assert done.exit_code == 2
    assert said in done.stderr
