import json
import socket

import pytest
from click.testing import CliRunner

from ginnel.cli.stun import host_and_port, stun
from tests.shell.relays import port, relays


@pytest.mark.parametrize(
    ("text", "host", "at"),
    [
        ("stun.example.com", "stun.example.com", 3478),
        ("stun.example.com:3479", "stun.example.com", 3479),
        ("192.0.2.1", "192.0.2.1", 3478),
        ("192.0.2.1:1", "192.0.2.1", 1),
        ("2001:db8::1", "2001:db8::1", 3478),
        ("[2001:db8::1]", "2001:db8::1", 3478),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
    ],
)
def test_a_server_is_named_with_or_without_a_port(text, host, at):
    assert host_and_port(text) == (host, at)


@pytest.mark.parametrize("text", ["", ":3478", "host:", "host:x", "host:0", "host:65536", "[]:1", "[host]:1", "[::1]1"])
def test_what_names_no_server_ends_with_one_line(text, capsys):
    with pytest.raises(SystemExit):
        host_and_port(text)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_relay_is_asked_and_says_what_it_sees() -> None:
    with relays() as serve:
        at = f"127.0.0.1:{port(serve(), 'stun')}"
        told = CliRunner().invoke(stun, ["query", at])
        [row] = json.loads(CliRunner().invoke(stun, ["query", "--json", at]).output)
    assert told.exit_code == 0
    assert told.output.startswith(f"{at} sees this machine as 127.0.0.1:")
    assert row["Server"] == at
    assert row["Mapped"].startswith("127.0.0.1:")
    assert row["LatencySeconds"] > 0
    assert row["Problem"] == ""


def test_no_answer_is_status_1_and_says_why() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        free_port = taken.getsockname()[1]
    told = CliRunner().invoke(stun, ["query", f"127.0.0.1:{free_port}"])
    assert told.exit_code == 1
    assert told.output.startswith(f"127.0.0.1:{free_port}: refused: ")
