"""`ginnel relay run` as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ginnel.core.relay.identity import SelfSigned, read_leaf
from ginnel.wire import stun
from ginnel.words import WallTime

COMMAND = [sys.executable, "-c", "from ginnel.cli.main import main; main()", "relay", "run"]
LOCAL = ["--hostname", "127.0.0.1", "--listen", "127.0.0.1:0", "--http", "none", "--stun", "127.0.0.1:0"]


@contextmanager
def start(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Ended however the test ends."""
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source}
    command = [*COMMAND, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_it_prints_its_map_entry_and_ends_when_told(tmp_path: Path) -> None:
    with start(*LOCAL, "--state", str(tmp_path / "state"), "--json") as process:
        assert process.stdout is not None
        entry = json.loads(process.stdout.readline())
        [node] = entry["900"]["Nodes"]
        with socket.create_connection(("127.0.0.1", node["DERPPort"]), 10):
            pass
        assert node["CertName"].startswith("sha256-raw:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::]:0", "none"])
def test_stun_listens_where_it_is_told_and_the_map_entry_says_so(listen: str, tmp_path: Path) -> None:
    with start(*LOCAL[:-1], listen, "--state", str(tmp_path / "state"), "--json") as process:
        assert process.stdout is not None
        [node] = json.loads(process.stdout.readline())["900"]["Nodes"]
        if listen == "none":
            assert node["STUNPort"] == -1
            return
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            if family == socket.AF_INET or "::" in listen:
                with socket.socket(family, socket.SOCK_DGRAM) as client:
                    client.settimeout(10)
                    client.connect((address, node["STUNPort"]))
                    client.send(stun.binding_request(b"\x07" * 12))
                    mapped = stun.parse_binding_success(client.recv(1500)).mapped
                    assert (str(mapped.ip), mapped.port) == client.getsockname()[:2]


def test_a_taken_port_is_one_line_and_status_1(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        with start(*LOCAL, "--state", str(tmp_path), "--listen", at) as process:
            out, error = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert error.count("\n") == 1
    assert error.startswith(f"ginnel relay: cannot listen on {at} (tls): Address already in use: ")


def test_a_members_file_that_is_none_stops_the_start(tmp_path: Path) -> None:
    members = tmp_path / "members"
    members.write_text("nodekey:12\n")
    with start(*LOCAL, "--state", str(tmp_path), "--members-only", "--members", str(members)) as process:
        _, error = process.communicate(timeout=20)
    assert process.returncode == 1
    assert error == f"ginnel relay: {members}: expected one nodekey: and 64 hex digits in each line\n"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--acme-url", "https://a/"], "add --acme"),
        (["--acme", "--cert", "a", "--key", "b"], "leave out --cert and --key"),
        (["--acme"], "--acme needs a name that the authority can reach, not 127.0.0.1: give --domain NAME"),
        (
            ["--hostname", "a.example", "--acme", "--acme-url", "example.org"],
            "expected the ACME authority's directory as https://host/path, got 'example.org'",
        ),
        (
            ["--hostname", "a.example", "--acme", "--acme-ca", "/nowhere"],
            "cannot use /nowhere to check the ACME authority: No such file or directory; give its certificates in PEM",
        ),
        (["--ipv4", "2001:db8::1"], "--ipv4 takes an IPv4 address, or none where there is none, not '2001:db8::1'"),
        (["--ipv6", "fe80::1%eth0"], "--ipv6 takes an IPv6 address"),
        (["--verify-fail-open"], "need --verify-url URL"),
        (["--verify-url", "relay.example"], "expected --verify-url as https://host/path, got 'relay.example'"),
        (["--metrics", "here:9"], "expected --metrics as PORT or IP:PORT, got 'here:9'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_contradicts_itself_is_said_before_anything_is_served(
    tmp_path: Path, arguments: list[str], why: str
) -> None:
    with start(*LOCAL, "--state", str(tmp_path), *arguments) as process:
        out, error = process.communicate(timeout=20)
    assert process.returncode in {1, 2}
    assert why in error
    assert out == ""


def test_a_changed_certificate_is_announced_and_numbers_are_on_the_admin_side(tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"

    def write(entropy: bytes) -> str:
        made = SelfSigned.make("127.0.0.1", entropy, WallTime(1_800_000_000.0))
        chain.write_bytes(made.certificate)
        key.write_bytes(made.key)
        return read_leaf(made.certificate).pin

    first = write(bytes(64))
    given = ["--cert", str(chain), "--key", str(key), "--metrics", "0"]
    with start(*LOCAL, "--state", str(tmp_path / "state"), *given, "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stderr.readline().split()[3]
        assert first in process.stdout.readline()
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert b"ginnel_relay_door_accepted_total" in answer.read()
        second = write(bytes(range(64)))
        assert second in process.stdout.readline()  # within two looks, without a signal
        third = write(bytes(range(1, 65)))
        process.send_signal(signal.SIGHUP)
        assert third in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize("module", ["ginnel.cli.relay", "ginnel.shell.relay"])
def test_what_is_slow_to_import_is_imported_when_it_is_used(module: str) -> None:
    slow = "('acme', 'requests', 'prometheus_client', 'starlette')"
    code = f"import sys, {module}; print([name for name in {slow} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
