import pytest

from ginnel.cli.local import plain
from ginnel.cli.node import whois_lines
from ginnel.cli.peers import find
from ginnel.cli.ping import line, verdict
from ginnel.cli.types import SECONDS

PONG = {
    "IP": "100.64.0.5", "NodeIP": "100.64.0.5", "NodeName": "bob", "Err": "", "LatencySeconds": 0.0349, "Endpoint": "",
    "DERPRegionID": 1, "DERPRegionCode": "nyc", "IsLocalIP": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("differs", "text"),
    [
        ({}, "pong from bob (100.64.0.5) via DERP(nyc) in 35ms"),
        (
            {"Endpoint": "192.0.2.7:41641", "LatencySeconds": 0.012},
            "pong from bob (100.64.0.5) via 192.0.2.7:41641 in 12ms",
        ),
        ({"Err": "timed out"}, 'ping "100.64.0.5" timed out'),
        ({"Err": "no\x07path"}, 'ping "100.64.0.5": no\ufffdpath'),
        ({"IsLocalIP": True}, "100.64.0.5 is this machine's own address"),
        ({"NodeName": "b\x1b[2Jb"}, "pong from b\ufffd[2Jb (100.64.0.5) via DERP(nyc) in 35ms"),
    ],
)
def test_a_line_of_ping(differs: dict, text: str) -> None:
    assert line(PONG | differs, "100.64.0.5") == text


@pytest.mark.parametrize(
    ("pongs", "until_direct", "code"), [(0, True, 1), (0, False, 1), (10, True, 1), (10, False, 0)]
)
def test_the_exit_status_of_ping(pongs: int, until_direct: bool, code: int) -> None:
    try:
        assert verdict(pongs, until_direct=until_direct) == code
    except SystemExit as ended:
        assert ended.code == code


NODE = {
    "Name": "bob.mesh.example.", "StableID": "n2", "Addresses": ["100.64.0.2/32", "fd7a::2/128"],
    "AllowedIPs": ["100.64.0.2/32", "fd7a::2/128"],
}  # fmt: skip
USER = {"ID": 1, "LoginName": "alice@example.com"}


def test_whois_of_a_users_machine() -> None:
    assert whois_lines({"Node": NODE, "UserProfile": USER, "CapMap": {}}) == [
        "Machine:",
        "  Name:          bob.mesh.example",
        "  ID:            n2",
        "  Addresses:     [100.64.0.2/32 fd7a::2/128]",
        "User:",
        "  Name:     alice@example.com",
        "  ID:       1",
    ]


def test_whois_of_a_tagged_subnet_router_with_capabilities() -> None:
    node = NODE | {"Tags": ["tag:a", "tag:b"], "AllowedIPs": [*NODE["AllowedIPs"], "10.0.0.0/8"]}
    text = "\n".join(
        whois_lines({"Node": node, "UserProfile": USER, "CapMap": {"x.example/cap": [{"a": 1}], "y": None}})
    )
    assert "  AllowedIPs:    [100.64.0.2/32 fd7a::2/128 10.0.0.0/8]" in text
    assert "  Tags:          tag:a, tag:b" in text
    assert "User:" not in text
    assert text.endswith('Capabilities:\n  - x.example/cap:\n      {"a": 1}\n  - y')


@pytest.mark.parametrize(
    "name", ["bob", "BOB", "bob.mesh.example", "bob.mesh.example.", "robert", "100.64.0.2", "fd7a::2"]
)
def test_a_machine_is_found_by_any_of_its_names(name: str) -> None:
    bob = {"DNSName": "bob.mesh.example.", "HostName": "Robert", "TailscaleIPs": ["100.64.0.2", "fd7a::2"]}
    got = {"Self": {"DNSName": "a.mesh.example.", "HostName": "a", "TailscaleIPs": ["100.64.0.1"]}, "Peer": {"k": bob}}
    assert find(got, name) is bob


def test_an_unknown_machine_ends_the_command(capsys) -> None:
    with pytest.raises(SystemExit):
        find({"Self": {"TailscaleIPs": ["100.64.0.1"]}, "Peer": None}, "eve")
    assert "ginnel status" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("1m30s", 90), ("500ms", 0.5), ("2", 2), ("1h", 3600), ("1.5s", 1.5), ("0s", 0)]
)
def test_durations_as_go_writes_them(text: str, seconds: float) -> None:
    assert SECONDS.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "s", "5x", "-1s", "1s2m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(Exception, match="duration"):
        SECONDS.convert(text, None, None)


def test_terminal_control_is_taken_out_of_names() -> None:
    assert plain("a\x1b]0;x\x07\u202eb\u009bc") == "a\ufffd]0;x\ufffd\ufffdb\ufffdc"
