"""A net check without a daemon, against relays on loopback."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from click.testing import CliRunner

from ginnel.cli.commands import ginnel
from ginnel.core.node import actions as act
from ginnel.core.relay.identity import SelfSigned
from ginnel.native import Relay
from ginnel.shell.node import standalone as ways
from ginnel.shell.node.standalone import BindError, standalone
from ginnel.wire.invite import Invite, encode_invite
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion, encode
from ginnel.words import MachineKey, WallTime
from tests.shell.relays import Serve, port


def map_of(*relays: Relay) -> DERPMap:
    regions: dict[int, DERPRegion | None] = {}
    for number, relay in enumerate(relays, 1):
        node = DERPNode(
            f"{number}a", number, "127.0.0.1", ipv4="127.0.0.1", ipv6="none", insecure_for_tests=True,
            derp_port=port(relay), stun_port=port(relay, "stun"),
        )  # fmt: skip
        regions[number] = DERPRegion(number, f"r{number}", f"R{number}", nodes=[node])
    return DERPMap(regions=regions)


async def test_relays_are_found_by_udp_and_the_second_report_is_as_good(serve: Serve) -> None:
    async with standalone(map_of(serve(), serve())) as check:
        first = await check.report()
        again = await check.report(full=False)
    assert first.udp
    assert first.region_latency.keys() == again.region_latency.keys() == {1, 2}
    assert first.preferred_derp == again.preferred_derp
    assert first.global_v4 is not None
    assert first.global_v4.ip == ip_address("127.0.0.1")
    assert first.mapping_varies_by_dest_ip is None  # both answered from one address


async def test_without_stun_https_is_asked(serve: Serve) -> None:
    relay = serve(stun=[])
    node = DERPNode(
        "1a", 1, "127.0.0.1", ipv4="127.0.0.1", insecure_for_tests=True, derp_port=port(relay), stun_port=-1
    )
    async with standalone(DERPMap(regions={1: DERPRegion(1, "r", "R", nodes=[node])})) as check:
        found = await check.report()
    assert (found.udp, found.ipv4, found.preferred_derp, found.icmpv4) == (False, True, 1, False)
    assert found.region_latency.keys() == {1}


@pytest.mark.parametrize("lack", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
@pytest.mark.parametrize("named", [False, True])
async def test_a_system_without_ipv6_sends_by_ipv4_from_whatever_port(
    lack: int, named: bool, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = ways._bound

    def without_ipv6(family: int, host: str, port: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(lack, "no IPv6 here")
        return bound(family, host, port)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        free = other.getsockname()[1] if named else 0
    monkeypatch.setattr(ways, "_bound", without_ipv6)
    async with standalone(map_of(serve()), port=free) as check:
        found = await check.report()
    assert found.udp
    assert found.global_v4 is not None
    assert not named or found.global_v4.port == free


async def test_a_report_for_somebody_who_was_cancelled_just_now_is_dropped(serve: Serve) -> None:
    async with standalone(map_of(serve())) as check:
        report = await check.report()
        asking = asyncio.create_task(check.report())
        await asyncio.sleep(0)
        [number] = check._waiting
        asking.cancel()
        check._perform([act.NetcheckDone(number, report)])
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_an_address_that_is_not_ours_cannot_be_sent_from() -> None:
    with pytest.raises(BindError, match=r"cannot send from 192\.0\.2\.99, any UDP port: "):
        async with standalone(DERPMap(), address=ip_address("192.0.2.99")):
            pass


def invoke(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(ginnel, ["netcheck", *words])
    return done.exit_code, done.stdout, done.stderr


def test_a_map_in_a_file_is_enough_for_the_command(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_bytes(encode(map_of(serve())))
    status, said, complaint = invoke("--derp-map", str(tmp_path / "map.json"), "--format", "json-line", "--verbose")
    found = json.loads(said)
    assert (status, said.count("\n"), found["UDP"], found["PreferredDERP"]) == (0, 1, True, 1)
    assert "netcheck: report: udp=true" in complaint
    assert json.loads(invoke("--derp-map", str(tmp_path / "map.json"), "--json")[1])["UDP"] is True


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--derp-map", "nowhere.json"], "cannot read the DERP map nowhere.json: No such file"),
        (["--derp-map", "x", "--server", "y"], "--derp-map and --server both name the relays"),
        (["--derp-map", "http://127.0.0.1:1/"], "cannot fetch the DERP map from http://127.0.0.1:1/: "),
        (["--server", "https://x", "--pin", "sha256:00"], "--pin 'sha256:00' is no pin: expected sha256-raw: and 64 "),
        (
            ["--server", "http://x", "--pin", "sha256-raw:" + "0" * 64],
            "--pin is about the certificate of an https address",
        ),
        (["--pin", "sha256-raw:" + "0" * 64], "--pin is about the certificate of an https address"),
        (["--server", "ginnel-invite1:AAAA"], "this invite cannot be used: "),
        (["--server", "https://:0"], "--server 'https://:0' is no address of a server"),
        (["--every", "soon"], "--every 'soon' is no time: expected for example 10s or 1m30s"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(words: list[str], line: str) -> None:
    status, said, complaint = invoke(*words)
    assert (status, said) == (1, "")
    assert complaint.startswith(line)
    assert complaint.count("\n") == 1


def test_a_socket_that_cannot_be_had_is_told_with_what_to_do(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_bytes(encode(map_of(serve())))
    by_map = ("--derp-map", str(tmp_path / "map.json"))
    assert invoke(*by_map, "--bind-address", "192.0.2.99")[2] == (
        "cannot send from 192.0.2.99, any UDP port: no interface of this machine has this address "
        "(`ip address` lists them)\n"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        complaint = invoke(*by_map, "--bind-address", "127.0.0.1", "--bind-port", str(port))[2]
    assert complaint.startswith(f"cannot send from 127.0.0.1, UDP port {port}: another program has it")


def test_every_0s_is_once(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_bytes(encode(map_of(serve())))
    status, said, _ = invoke("--derp-map", str(tmp_path / "map.json"), "--format", "json-line", "--every", "0s")
    assert (status, said.count("\n")) == (0, 1)


class MapPage(BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/derpmap/default" else 404)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@dataclass(frozen=True)
class SelfMade:
    """A server with a certificate of its own making."""

    url: str
    pin: bytes

    def invite(self) -> str:
        return encode_invite(Invite(self.url, MachineKey(bytes([9] * 32)), "hskey-auth-x", self.pin))


@pytest.fixture
def self_made(serve: Serve, tmp_path: Path) -> Iterator[SelfMade]:
    made = SelfSigned.make("127.0.0.1", bytes(range(64, 128)), WallTime(time.time()))
    (tmp_path / "pem").write_bytes(made.certificate + made.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    page = type("Page", (MapPage,), {"body": encode(map_of(serve()))})
    with ThreadingHTTPServer(("127.0.0.1", 0), page) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        der = ssl.PEM_cert_to_DER_cert(made.certificate.decode())
        yield SelfMade(f"https://127.0.0.1:{server.server_port}", hashlib.sha256(der).digest())
        server.shutdown()
        thread.join()


def test_a_server_with_a_certificate_of_its_own_making_is_asked_by_invite_or_pin(self_made: SelfMade) -> None:
    for words in (
        ["--server", self_made.invite()],
        ["--server", self_made.url, "--pin", f"sha256-raw:{self_made.pin.hex()}"],
    ):
        status, said, complaint = invoke(*words, "--json")
        assert (status, complaint) == (0, "")
        assert json.loads(said)["PreferredDERP"] == 1
    status, _, complaint = invoke("--server", self_made.url)
    assert (status, complaint.count("\n")) == (1, 1)
    assert complaint.endswith("; give an invite as --server, or the certificate's --pin\n")
    other = "sha256-raw:" + bytes(32).hex()
    status, _, complaint = invoke("--server", self_made.invite(), "--pin", other)
    assert status == 1
    assert ": the certificate of 127.0.0.1 is not the one that was pinned" in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"Regions":{}}', '{"Regions":{"1":7}}'])
def test_a_file_that_is_no_map_is_refused(body: str, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(body)
    status, _, complaint = invoke("--derp-map", str(tmp_path / "map.json"))
    assert status == 1
    assert "map" in complaint
    assert complaint.count("\n") == 1
