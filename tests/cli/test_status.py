from datetime import UTC, datetime, timedelta

import pytest

from ginnel.cli.status import not_running, render, state

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PEER = {
    "HostName": "bob", "DNSName": "bob.mesh.example.", "OS": "linux", "UserID": 1, "TailscaleIPs": ["100.64.0.2"],
    "CurAddr": "", "Relay": "own", "PeerRelay": "", "TxBytes": 0, "RxBytes": 0, "Online": True, "Active": False,
    "LastSeen": "0001-01-01T00:00:00Z", "ExitNode": False, "ExitNodeOption": False,
}  # fmt: skip
TRAFFIC = {"TxBytes": 1234, "RxBytes": 5678}


def seen(**ago: int) -> str:
    return (NOW - timedelta(**ago)).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("differs", "text"),
    [
        ({}, "-"),
        ({"Online": False}, "offline"),
        ({"Online": False, "LastSeen": seen(seconds=5)}, "offline, last seen 1m ago"),
        ({"Online": False, "LastSeen": seen(minutes=5)}, "offline, last seen 5m ago"),
        ({"Online": False, "LastSeen": seen(hours=23)}, "offline, last seen 23h ago"),
        ({"Online": False, "LastSeen": seen(days=3)}, "offline, last seen 3d ago"),
        (TRAFFIC, "idle, tx 1234 rx 5678"),
        ({"ExitNodeOption": True}, "idle; offers exit node"),
        ({"ExitNode": True}, "idle; exit node"),
        ({"Active": True}, 'active; relay "own"'),
        ({"Active": True, "CurAddr": "192.0.2.7:41641", **TRAFFIC}, "active; direct 192.0.2.7:41641, tx 1234 rx 5678"),
        ({"Active": True, "PeerRelay": "192.0.2.7:7777:vni:5"}, "active; peer-relay 192.0.2.7:7777:vni:5"),
        ({"Active": True, "ExitNodeOption": True}, 'active; offers exit node; relay "own"'),
        ({**TRAFFIC, "Online": False, "LastSeen": seen(hours=2)}, "idle; offline, last seen 2h ago, tx 1234 rx 5678"),
    ],
)
def test_the_last_column(differs: dict, text: str) -> None:
    assert state(PEER | differs, NOW) == text


STATUS = {
    "BackendState": "Running",
    "MagicDNSSuffix": "mesh.example",
    "Self": PEER | {"HostName": "alice", "DNSName": "alice.mesh.example.", "TailscaleIPs": ["100.64.0.1"]},
    "Peer": {
        "nodekey:2": PEER | {"Active": True, "CurAddr": "192.0.2.7:41641", **TRAFFIC},
        "nodekey:1": PEER | {"DNSName": "", "HostName": "a\x1b[31mb", "TailscaleIPs": ["100.64.0.3"], "UserID": 7},
    },
    "User": {"1": {"LoginName": "alice@example.com"}},
    "Health": ["careful\n\x07now"],
}


def lines(**options: bool) -> list[str]:
    chosen = {"active": False, "peers": True, "itself": True, "header": False} | options
    return render(STATUS, now=NOW, **chosen)


def test_the_table() -> None:
    tail = len("active; direct 192.0.2.7:41641, tx 1234 rx 5678") + 2
    assert lines() == [
        "100.64.0.1  alice        alice@  linux  " + "-".ljust(tail),
        '100.64.0.3  ("a\ufffd[31mb")  7       linux  ' + "-".ljust(tail),
        "100.64.0.2  bob          alice@  linux  active; direct 192.0.2.7:41641, tx 1234 rx 5678  ",
        "",
        "# Health check:",
        "#     - careful\ufffd\ufffdnow",
    ]


def test_what_is_shown_can_be_chosen() -> None:
    assert [line.split()[0] for line in lines(active=True)[:2]] == ["100.64.0.1", "100.64.0.2"]
    assert len(lines(peers=False)) == 1 + 3
    assert lines(itself=False)[0].startswith("100.64.0.3")
    assert lines(header=True)[0].split() == ["IP", "Hostname", "Owner", "OS", "Status"]
    assert set(lines(header=True)[1]) == {"-", " "}


def test_a_machine_that_was_only_shared_with_is_hidden() -> None:
    shared = {"nodekey:3": PEER | {"HostName": "eve", "DNSName": "eve.mesh.example.", "ShareeNode": True}}
    got = STATUS | {"Peer": STATUS["Peer"] | shared}
    assert render(got, now=NOW, active=False, peers=True, itself=True, header=False) == lines()


@pytest.mark.parametrize("name", ["linux", "macOS", "windows", "iOS"])
def test_the_system_is_told_in_the_machine_s_own_word(name: str) -> None:
    got = STATUS | {"Self": STATUS["Self"] | {"OS": name}}
    (row,) = render(got | {"Health": []}, now=NOW, active=False, peers=False, itself=True, header=False)
    assert row.split() == ["100.64.0.1", "alice", "alice@", name, "-"]


@pytest.mark.parametrize(
    ("got", "words"),
    [
        ({"BackendState": "Running"}, ""),
        ({"BackendState": "Starting"}, ""),
        ({"BackendState": "Stopped"}, "stopped"),
        ({"BackendState": "NeedsLogin", "AuthURL": ""}, "Logged out."),
        ({"BackendState": "NeedsLogin", "AuthURL": "https://c/1"}, "Logged out.\nLog in at: https://c/1"),
        ({"BackendState": "NeedsMachineAuth"}, "approve"),
        ({"BackendState": "Odd\x1b"}, "unexpected state: Odd\ufffd"),
    ],
)
def test_what_stands_in_the_way(got: dict, words: str) -> None:
    assert words in not_running(got)
    assert bool(not_running(got)) == bool(words)
