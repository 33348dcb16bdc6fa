"""Several relays of one region on loopback, and logins as a relay of the region makes them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass

from nacl.bindings import crypto_box
from nacl.public import PrivateKey
from nacl.utils import random

from ginnel.core.relay.identity import SelfSigned, meta_certificate, read_leaf
from ginnel.native import Relay
from ginnel.words import NodePrivate, WallTime
from tests.shell.derp_client import CLIENT_INFO, LIMIT, UPGRADE, Client, connect, frame, tls_context

FORWARD_PACKET, PEER_PRESENT, WATCH_CONNS, CLOSE_PEER, HEALTH, RESTARTING = 0x0A, 0x09, 0x10, 0x11, 0x14, 0x15
SERVER_KEY, SERVER_INFO = 1, 3
MESH_KEY = bytes(range(100, 132))
OTHER_KEY = bytes(range(32))


@dataclass
class Node:
    """One relay, and how the others of its region find it."""

    native: Relay
    secret: NodePrivate
    made: SelfSigned

    @property
    def key(self) -> bytes:
        return self.secret.public().raw

    @property
    def port(self) -> int:
        return self.native.addresses()["tls"][0][1]

    @property
    def peer(self) -> tuple[str, list[str], int, str]:
        return "127.0.0.1", ["127.0.0.1"], self.port, read_leaf(self.made.certificate).pin

    def counters(self) -> dict[str, int]:
        return self.native.counters()


Region = Callable[..., Node]


@contextmanager
def region() -> Iterator[Region]:
    """Gives a function that starts a relay with a key of its own; its options are the native constructor's."""
    started: list[Node] = []

    def start(*, port: int = 0, like: Node | None = None, **options: object) -> Node:
        now = WallTime(time.time())  # who dials checks the dates
        secret = like.secret if like else NodePrivate(bytes(PrivateKey.generate()))
        made = like.made if like else SelfSigned.make("127.0.0.1", random(64), now)
        chain = made.certificate + meta_certificate(secret.public(), bytes(32), now)
        arguments = {"members_only": False, "limits": {"mesh_retry": 0.05}, **options}
        native = Relay(
            secret.raw, certificate=chain, certificate_key=made.key, tls=[f"127.0.0.1:{port}"], http=[], stun=[],
            splice=None, **arguments,  # type: ignore[arg-type]
        )  # fmt: skip
        started.append(node := Node(native, secret, made))
        return node

    yield start
    for node in started:
        node.native.close()


def mesh(*nodes: Node, key: bytes | None = MESH_KEY) -> None:
    """Every relay gets the same list, itself included."""
    for node in nodes:
        node.native.set_mesh(key, [other.peer for other in nodes])


async def until(fact: Callable[[], bool]) -> None:
    """The tables are another thread's: they are looked at until they say so."""
    async with asyncio.timeout(LIMIT):
        while not fact():  # noqa: ASYNC110 - nothing tells when it changes
            await asyncio.sleep(0.002)


async def meshed(*nodes: Node) -> None:
    def all_there() -> bool:
        return all(
            node.counters()["mesh.now.watchers"] == len(nodes) - 1
            and [row[1] for row in node.native.mesh()] == [True] * (len(nodes) - 1)
            for node in nodes
        )

    await until(all_there)


async def sees(node: Node, clients: int) -> None:
    """The relay knows of so many clients at the others."""
    await until(lambda: sum(row[2] for row in node.native.mesh()) == clients)


@asynccontextmanager
async def login_with(node: Node, private: bytes | None = None, **info: object) -> AsyncIterator[Client]:
    """A login whose introduction says this, up to ServerInfo."""
    private = private or bytes(PrivateKey.generate())
    async with connect(node.port, tls=tls_context()) as raw:
        client = Client(raw.reader, raw.writer)
        client.key = bytes(PrivateKey(private).public_key)
        nonce, text = random(24), json.dumps({"version": 2, **info}).encode()
        sealed = nonce + crypto_box(text, nonce, node.key, private)
        await client.send(UPGRADE + b"Derp-Fast-Start: 1\r\n\r\n" + frame(CLIENT_INFO, client.key + sealed))
        await client.expect(SERVER_KEY)
        await client.expect(SERVER_INFO)
        yield client


def as_relay(node: Node, key: bytes = MESH_KEY) -> AbstractAsyncContextManager[Client]:
    return login_with(node, meshKey=key.hex())
