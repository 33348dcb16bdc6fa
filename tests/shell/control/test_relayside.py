"""The server with its relay in front: TLS, splice, pins and members, on loopback."""

import asyncio
import hashlib
import json
import socket
import ssl
import time
from pathlib import Path

import pytest

from ginnel.core.relay.identity import SelfSigned
from ginnel.shell.control.beside import StartError
from ginnel.shell.control.config import ConfigError, read_config
from ginnel.shell.control.relayside import start_relay
from ginnel.shell.control.run import ControlServer
from ginnel.wire.invite import parse_invite
from ginnel.words import WallTime
from tests.shell.control.control_client import PATIENCE, Client, auth_key
from tests.shell.control.fleet_world import eventually

ANY = ("127.0.0.1:0",)


def server_at(state: Path, **settings: object) -> ControlServer:
    listen = {"listen": ANY, "listen_http": ANY, "stun_listen": ANY, "listen_plain": ANY}
    config = read_config(None, {"state": str(state), "url": "https://127.0.0.1", **listen, **settings})
    return ControlServer(config, start_relay)


async def ask(port: int, request: bytes) -> tuple[bytes, bytes]:
    """(the answer, SHA-256 of the certificate that was shown)"""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer, hashlib.sha256(shown).digest()


def bound(server: ControlServer, kind: str) -> int:
    return int(server._relay._relay.native.addresses()[kind][0][1])  # type: ignore[union-attr, attr-defined]


async def test_requests_come_through_the_front_door_and_the_invite_pins_its_certificate(tmp_path: Path) -> None:
    async with server_at(tmp_path) as server:
        answer, shown = await ask(bound(server, "tls"), b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in answer
        assert parse_invite(await server.new_invite()).pin == shown
        region = (server.derp_map.regions or {})[900]
        assert region is not None
        assert (region.nodes or [])[0].cert_name == "sha256-raw:" + shown.hex()


async def test_a_node_of_the_mesh_is_a_member_of_the_relay_until_it_is_not(tmp_path: Path) -> None:
    async with server_at(tmp_path) as server, Client(server) as client:
        told: list[tuple[str, bool]] = []
        assert server._relay is not None
        relay = server._relay
        add, remove = relay.add_member, relay.remove_member
        relay.add_member = lambda key: (told.append((str(key), True)), add(key))[1]  # type: ignore[method-assign]
        relay.remove_member = lambda key: (told.append((str(key), False)), remove(key))[1]  # type: ignore[method-assign]
        await client.register(await auth_key(server))
        (node,) = server.coordinator.registry.nodes.values()
        await server.coordinator.change(lambda wall: (None, server.coordinator.registry.expire_node(node, wall)))
        assert told == [(str(node.key), True), (str(node.key), False)]


async def test_clients_whose_dns_fails_are_told_where_the_server_is(tmp_path: Path) -> None:
    settings = {"addresses": ["10.0.0.1", "2001:db8::1"], "unpublished_bootstrap_dns_names": ["hidden.example"]}
    async with server_at(tmp_path, url="https://c.example", relay=settings) as server:
        at, asked = bound(server, "tls"), b"GET /bootstrap-dns?q=c.example HTTP/1.1\r\nHost: x\r\n\r\n"
        answers: list[dict[str, list[str]]] = []

        async def told() -> bool:
            answers.append(json.loads((await ask(at, asked))[0].partition(b"\r\n\r\n")[2]))
            return bool(answers[-1])

        while not await told():
            assert len(answers) < 100
        assert {name: sorted(found) for name, found in answers[-1].items()} == {
            "c.example": ["10.0.0.1", "2001:db8::1"]
        }


def test_names_that_are_none_are_refused_in_the_settings(tmp_path: Path) -> None:
    for key in ("bootstrap_dns_names", "unpublished_bootstrap_dns_names"):
        with pytest.raises(ConfigError, match="is no full name"):
            server_at(tmp_path, relay={key: ["no name"]})


async def test_a_taken_port_is_said_in_one_line_and_nothing_is_left_behind(tmp_path: Path) -> None:
    async with server_at(tmp_path / "first") as first:
        taken = f"127.0.0.1:{bound(first, 'tls')}"
        with pytest.raises(StartError, match="relay cannot start"):
            async with server_at(tmp_path / "second", listen=(taken,)):
                pass
    async with server_at(tmp_path / "second"):
        pass


async def test_a_new_certificate_in_the_given_files_reaches_clients_map_and_invites(tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"

    def write(entropy: bytes) -> None:
        made = SelfSigned.make("127.0.0.1", entropy, WallTime(time.time()))
        chain.write_bytes(made.certificate)
        key.write_bytes(made.key)

    write(bytes(64))
    async with server_at(tmp_path / "state", certificate=str(chain), certificate_key=str(key)) as server:
        before = server.derp_map.regions
        write(bytes(range(64)))
        server.look_again()
        _, shown = await ask(bound(server, "tls"), b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        await eventually(lambda: server.derp_map.regions != before, "the map with another pin")
        region = (server.derp_map.regions or {})[900]
        assert region is not None
        assert (region.nodes or [])[0].cert_name == "sha256-raw:" + shown.hex()
        assert parse_invite(await server.new_invite()).pin == shown
        key.write_text("nonsense")
        server.look_again()
        assert (await ask(bound(server, "tls"), b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"))[1] == shown


async def test_the_server_s_relay_has_numbers_where_they_are_asked_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"^cannot listen on 127\.0\.0\.1:{at} for metrics: "):
            async with server_at(tmp_path / "a", metrics=f"127.0.0.1:{at}"):
                pass
    async with server_at(tmp_path / "b", metrics=f"127.0.0.1:{at}"), asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", at)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert b"ginnel_relay_door_accepted_total" in await reader.read()
        writer.close()


@pytest.mark.parametrize("settings", [{"certificate": "a", "certificate_key": "b"}, {"url": "http://relay.example"}])
def test_acme_and_what_contradicts_it_are_refused_together(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"^\[acme\] obtains the certificate"):
        read_config(None, {"state": "x", "url": "https://relay.example", "acme": {}, **settings})
    assert read_config(None, {"state": "x", "url": "https://relay.example", "acme": {}}).acme is not None
