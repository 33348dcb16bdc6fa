"""A node in a test: a real socket, a real control channel, one request at a time or a map stream."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from ginnel.core.channel import Body, ClientChannel, Closed, Event, Opened, Reset, Response, Send
from ginnel.shell.control.config import ServerConfig, read_config
from ginnel.shell.control.run import ControlServer
from ginnel.wire.mapstream import MapDecoder
from ginnel.words import DiscoPrivate, MachineKey, MachinePrivate, NodePrivate

PATIENCE = 20.0
VERSION = 130


def config_for(state: Path, **settings: Any) -> ServerConfig:
    options = {"state": str(state), "url": "http://127.0.0.1:1", "listen_plain": ("127.0.0.1:0",), **settings}
    config = read_config(None, options)
    return msgspec.structs.replace(config, relay=msgspec.structs.replace(config.relay, enabled=False))


@asynccontextmanager
async def running(state: Path, **settings: Any) -> AsyncIterator[ControlServer]:
    async with ControlServer(config_for(state, **settings)) as server:
        yield server


async def auth_key(server: ControlServer, **options: Any) -> str:
    from ginnel.shell.control.admin import CreateKey

    created = await server.admin.preauthkeys_create(CreateKey(**{"user": "default", **options}), "test")
    return str(created["key"])


async def until(true: Callable[[], bool]) -> None:
    """For what the server says to nobody: let the loop turn until it is so."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0)


class Lost(Exception):
    """The connection or the stream ended."""


class Client:
    """`async with Client(server, name)`."""

    def __init__(self, server: ControlServer, name: str = "laptop", *, machine: MachinePrivate | None = None) -> None:
        self.server = server
        self.name = name
        self.machine = machine or MachinePrivate(os.urandom(32))
        self.key = NodePrivate(os.urandom(32))
        self.disco = str(DiscoPrivate(os.urandom(32)).public())
        self._inboxes: dict[int, asyncio.Queue[Event]] = {}
        self.closed = asyncio.Event()

    async def __aenter__(self) -> Client:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hang_up()

    async def connect(self) -> None:
        self.closed.clear()
        server_key: MachineKey = self.server.admin.joining.server_key
        self.channel = ClientChannel(self.machine, server_key, VERSION, os.urandom(32))
        port = self.server.plain_ports()[0]
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        handshake = base64.b64encode(self.channel.initiation()).decode()
        self.writer.write(
            f"POST /ts2021 HTTP/1.1\r\nHost: x\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n"
            f"X-Tailscale-Handshake: {handshake}\r\n\r\n".encode()
        )
        head = await self.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            self.writer.close()
            raise Lost(head.decode())
        opened = asyncio.Event()
        self._pump = asyncio.create_task(self._read(opened))
        async with asyncio.timeout(PATIENCE):
            await opened.wait()

    async def hang_up(self) -> None:
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)

    async def _read(self, opened: asyncio.Event) -> None:
        while data := await self.reader.read(65536):
            for event in self.channel.receive(data):
                match event:
                    case Send(out):
                        self.writer.write(out)
                    case Opened():
                        opened.set()
                    case Response() | Body() | Reset():
                        self._inboxes[event.stream].put_nowait(event)
                    case Closed():
                        break
        self.closed.set()
        for inbox in self._inboxes.values():
            inbox.put_nowait(Closed("end"))

    def start(self, path: str, body: bytes) -> int:
        stream, data = self.channel.request("POST", path, body)
        self._inboxes[stream] = asyncio.Queue()
        self.writer.write(data)
        return stream

    async def post(self, path: str, body: Any) -> tuple[int, bytes]:
        return await self.finish(self.start(path, body if isinstance(body, bytes) else json.dumps(body).encode()))

    async def finish(self, stream: int) -> tuple[int, bytes]:
        status, answer = 0, b""
        async with asyncio.timeout(PATIENCE):
            while True:
                match await self._inboxes[stream].get():
                    case Response(_, status):
                        pass
                    case Body(_, data, ended):
                        answer += data
                        if ended:
                            return status, answer
                    case other:
                        raise Lost(str(other))

    def cancel(self, stream: int) -> None:
        self.writer.write(self.channel.reset(stream))

    def hostinfo(self, **members: Any) -> dict[str, Any]:
        return {"OS": "linux", "Hostname": self.name, **members}

    def login(self, key: str | None = None, **members: Any) -> dict[str, Any]:
        body = {"Version": VERSION, "NodeKey": str(self.key.public()), "Hostinfo": self.hostinfo(), **members}
        return body | ({"Auth": {"AuthKey": key}} if key else {})

    async def register(self, key: str | None = None, **members: Any) -> dict[str, Any]:
        status, answer = await self.post("/machine/register", self.login(key, **members))
        assert status == 200, (status, answer)
        return dict(json.loads(answer))

    def map_request(self, **members: Any) -> dict[str, Any]:
        common = {"Version": VERSION, "NodeKey": str(self.key.public()), "DiscoKey": self.disco}
        return {**common, "Compress": "zstd", "KeepAlive": True, "Hostinfo": self.hostinfo(), **members}

    async def lite(self, **members: Any) -> tuple[int, bytes]:
        return await self.post("/machine/map", self.map_request(OmitPeers=True, **members))

    async def stream(self, **members: Any) -> MapStream:
        request = self.map_request(Stream=True, **members)
        stream = MapStream(self, self.start("/machine/map", json.dumps(request).encode()), request["Compress"])
        await stream.opened()
        return stream


class MapStream:
    def __init__(self, client: Client, number: int, compress: str) -> None:
        self.client = client
        self.number = number
        self._decoder = MapDecoder(compress)
        self._frames: list[dict[str, Any]] = []

    async def opened(self) -> None:
        async with asyncio.timeout(PATIENCE):
            event = await self.client._inboxes[self.number].get()
        assert isinstance(event, Response)
        if event.status != 200:
            raise Lost(f"HTTP {event.status}")

    async def frame(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            while not self._frames:
                event = await self.client._inboxes[self.number].get()
                if not isinstance(event, Body) or event.ended:
                    raise Lost(str(event))
                self._frames += [json.loads(message) for message in self._decoder.feed(event.data)]
        return self._frames.pop(0)

    async def until(self, member: str) -> dict[str, Any]:
        """The next frame that has the member."""
        while True:
            frame = await self.frame()
            if member in frame:
                return frame
