"""The server with its relay in front: TLS, splice, pins and members, on loopback."""

import asyncio
import hashlib
import ssl
from pathlib import Path

import pytest
from control_client import PATIENCE, Client, auth_key

from ginnel.shell.control.config import read_config
from ginnel.shell.control.relayside import start_relay
from ginnel.shell.control.run import ControlServer, StartError
from ginnel.wire.invite import parse_invite

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


async def test_a_taken_port_is_said_in_one_line_and_nothing_is_left_behind(tmp_path: Path) -> None:
    async with server_at(tmp_path / "first") as first:
        taken = f"127.0.0.1:{bound(first, 'tls')}"
        with pytest.raises(StartError, match="relay cannot start"):
            async with server_at(tmp_path / "second", listen=(taken,)):
                pass
    async with server_at(tmp_path / "second"):
        pass
