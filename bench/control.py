"""The coordination server under N nodes that all see each other: connecting, joins, memory.

The server is a process of its own on a loopback port; this process holds the nodes, each with a real control channel
(Noise, HTTP/2, zstd map stream). Both share the machine's cores. Rows: `control/connect-N` (s until every node has
its map), `control/join-p99-N` (s from the register request of a new node until each other node was told of it),
`control/join-cpu-N` (s of the server's CPU for each join), `control/rss-N` (MiB of the server).
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from bench._relays import CPUCLOCK_SCHED, free_port
from bench._rows import Row, burden, row
from ginnel.core.channel import Body, ClientChannel, Closed, Opened, Response, Send
from ginnel.shell.control.adminclient import call
from ginnel.wire.mapstream import MapDecoder
from ginnel.words import DiscoPrivate, MachineKey, MachinePrivate, NodePrivate

VERSION = 130
AT_ONCE = 64  # logins under way at the same time
LIMIT = 600.0
LIMITS = {"connect": 60.0, "join-p99": 1.0, "join-cpu": 0.3, "rss": 200.0}  # for 1,000 nodes
UNITS = {"connect": "s", "join-p99": "s", "join-cpu": "s", "rss": "MiB"}
PEER = "headscale"
JOINS = 2  # in each run
ATTEMPTS = 5


@dataclass(eq=False)
class Node(asyncio.Protocol):
    """One client: logs in by key, opens a map stream, says where it is."""

    number: int
    server_key: MachineKey
    auth_key: str = field(repr=False)
    port: int
    machine: MachinePrivate = field(default_factory=lambda: MachinePrivate(os.urandom(32)))
    key: NodePrivate = field(default_factory=lambda: NodePrivate(os.urandom(32)))
    on_frame: Callable[[Node, bytes], None] | None = None
    attempts: int = 0

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """As before the first connection."""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.text = str(self.key.public()).encode()
        self.frames = 0
        self._disco = str(DiscoPrivate(os.urandom(32)).public())
        self._channel = ClientChannel(self.machine, self.server_key, VERSION, os.urandom(32))
        self._decoder = MapDecoder("zstd")
        self._head: bytes | None = b""
        self._register = self._map = 0
        self._answer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        handshake = base64.b64encode(self._channel.initiation()).decode()
        transport.write(
            f"POST /ts2021 HTTP/1.1\r\nHost: bench\r\nConnection: upgrade\r\nUpgrade: tailscale-control-protocol\r\n"
            f"X-Tailscale-Handshake: {handshake}\r\nContent-Length: 0\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"node {self.number} lost its connection: {exc or 'closed'}"))

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            head, end, rest = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._head, data = None, rest
        for event in self._channel.receive(data):
            self._take(event)

    def _take(self, event: object) -> None:
        match event:
            case Send(data):
                self._transport.write(data)
            case Opened():
                self._register = self._post("/machine/register", self._login())
            case Response(_, status) if status != 200:
                raise ConnectionError(f"node {self.number}: HTTP {status}")
            case Body(stream, data, ended) if stream == self._register:
                self._answer += data
                if ended:
                    self._logged_in()
            case Body(stream, data) if stream == self._map:
                for message in self._decoder.feed(data):
                    self._frame(message)
            case Closed(reason):
                self.connection_lost(ConnectionError(reason))

    def _login(self) -> dict[str, Any]:
        return {
            "Version": VERSION,
            "NodeKey": self.text.decode(),
            "Auth": {"AuthKey": self.auth_key},
            "Hostinfo": {"OS": "linux", "Hostname": f"bench-{self.number}", "IPNVersion": "1.90.9"},
        }

    def _logged_in(self) -> None:
        answer = json.loads(self._answer)
        assert not answer["Error"], answer["Error"]
        self._map = self._post("/machine/map", {**self._state(), "Stream": True})
        services = [{"Proto": "peerapi4", "Port": 40000}]
        self._lite({"OS": "linux", "Hostname": f"bench-{self.number}", "IPNVersion": "1.90.9", "Services": services})

    def _frame(self, message: bytes) -> None:
        self.frames += 1
        if self.frames == 1:
            self.report_network()
            if not self.ready.done():  # given up together with others
                self.ready.set_result(None)
        if self.on_frame is not None:
            self.on_frame(self, message)

    def report_network(self) -> None:
        """What a client says once it has probed: its home and its endpoints."""
        net_info = {"PreferredDERP": 900, "WorkingUDP": True, "DERPLatency": {"900-v4": 0.01}}
        services = [{"Proto": "peerapi4", "Port": 40000}]
        hostinfo = {"OS": "linux", "Hostname": f"bench-{self.number}", "IPNVersion": "1.90.9", "Services": services}
        high, low = divmod(self.number, 250)
        endpoints = [f"198.51.{high}.{low + 1}:41641", f"192.168.{high}.{low + 1}:41641"]
        self._lite({**hostinfo, "NetInfo": net_info}, endpoints)

    def _state(self) -> dict[str, Any]:
        return {
            "Version": VERSION,
            "Compress": "zstd",
            "KeepAlive": True,
            "NodeKey": self.text.decode(),
            "DiscoKey": self._disco,
            "Hostinfo": {"OS": "linux", "Hostname": f"bench-{self.number}", "IPNVersion": "1.90.9"},
        }

    def _lite(self, hostinfo: dict[str, Any], endpoints: list[str] | None = None) -> None:
        body = {**self._state(), "Hostinfo": hostinfo, "Stream": False, "OmitPeers": True}
        if endpoints is not None:
            body |= {"Endpoints": endpoints, "EndpointTypes": [2, 1]}
        self._post("/machine/map", body)

    def _post(self, path: str, body: dict[str, Any]) -> int:
        stream, data = self._channel.request("POST", path, json.dumps(body).encode())
        self._transport.write(data)
        return stream

    def close(self) -> None:
        self._transport.abort()


@dataclass
class Server:
    """`ginnel server run` without a relay, its state in a directory that goes away with it."""

    directory: tempfile.TemporaryDirectory[str] = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="gb-")
    )

    def start(self) -> None:
        self.port = free_port()
        self.state = Path(self.directory.name)
        config = self.state / "bench.toml"
        config.write_text(
            f'state = "{self.state}"\nurl = "http://127.0.0.1:{self.port}"\nlisten_plain = ["127.0.0.1:{self.port}"]\n'
            '[relay]\nenabled = false\n[regions.900]\ncode = "bench"\nname = "bench"\n'
            '[[regions.900.nodes]]\nhost = "127.0.0.1"\nport = 1\n'
        )
        command = [sys.executable, "-c", "from ginnel.cli.main import main; main()", "server", "run"]
        self.process = subprocess.Popen([*command, "--config", str(config)], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "the server did not start"

    def admin(self, verb: str, arguments: dict[str, Any]) -> Any:
        return call(self.state / "admin.sock", verb, arguments)

    def cpu(self) -> float:
        return time.clock_gettime(~self.process.pid << 3 | CPUCLOCK_SCHED)

    def rss(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        self.directory.cleanup()


async def connect(node: Node) -> None:
    """As a client does, anew where the connection is lost: the server gives a login so many seconds, and on a machine
    that is busy with other things the nodes' process may be the slow one."""
    while True:
        await asyncio.get_running_loop().create_connection(lambda: node, "127.0.0.1", node.port)
        try:
            return await node.ready
        except ConnectionError:
            node.attempts += 1
            if node.attempts == ATTEMPTS:
                raise
            node.begin()


async def connect_all(nodes: list[Node]) -> float:
    """Seconds until each has its first map; `AT_ONCE` at a time."""
    began = time.monotonic()
    waiting = iter(nodes)

    async def worker() -> None:
        for node in waiting:
            await connect(node)

    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())
    return time.monotonic() - began


async def join(nodes: list[Node], newcomer: Node) -> list[float]:
    """Seconds after which each of `nodes` was told of the newcomer, once all were told its endpoints as well."""
    seen: dict[Node, float] = {}
    complete: set[Node] = set()
    done = asyncio.Event()
    endpoint = f"198.51.{newcomer.number // 250}.{newcomer.number % 250 + 1}:41641".encode()
    began = time.monotonic()

    def told(node: Node, message: bytes) -> None:
        if newcomer.text in message:
            seen.setdefault(node, time.monotonic() - began)
        if endpoint in message:
            complete.add(node)
            if len(complete) == len(nodes):
                done.set()

    for node in nodes:
        node.on_frame = told
    async with asyncio.timeout(LIMIT):
        await connect(newcomer)
        await done.wait()
    for node in nodes:
        node.on_frame = None
    return list(seen.values())


async def measure(count: int, joins: int) -> dict[str, float]:
    server = Server()
    server.start()
    nodes: list[Node] = []
    try:
        server_key = MachineKey.parse(server.admin("server.info", {})["public_key"])
        auth_key = server.admin("preauthkeys.create", {"user": "default", "reusable": True})["key"]
        nodes = [Node(number, server_key, auth_key, server.port) for number in range(count)]
        connected = await connect_all(nodes)
        connect_cpu = server.cpu()
        await settle(nodes)
        before = server.cpu()
        delays: list[float] = []
        for number in range(joins):
            newcomer = Node(count + number, server_key, auth_key, server.port)
            delays += await join(nodes, newcomer)
            nodes.append(newcomer)
        await settle(nodes)
        cpu, rss = (server.cpu() - before) / joins, server.rss()
        assert len(delays) >= joins * count, "somebody was not told of a join"
        delays.sort()
        p99 = delays[int(len(delays) * 0.99) - 1]
        return {
            "connect": connected,
            "connect-cpu": connect_cpu,
            "join-p99": p99,
            "join-p50": median(delays),
            "join-cpu": cpu,
            "rss": rss,
            "again": sum(node.attempts for node in nodes),
        }
    finally:
        for node in nodes:
            if hasattr(node, "_transport"):
                node.close()
        server.stop()


async def settle(nodes: list[Node]) -> None:
    """Until no frame came for a second."""
    frames = -1
    while frames != (frames := sum(node.frames for node in nodes)):  # noqa: ASYNC110
        await asyncio.sleep(1)


def rows(n: int, count: int = 1000) -> Iterator[Row]:
    """`n` servers, one after another: `count` nodes connect to each, then `JOINS` more join."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runs = [runner.run(measure(count, JOINS)) for _ in range(n)]
    middle = {name: median(run[name] for run in runs) for name in runs[0]}
    cost = (
        f"{middle['connect-cpu']:.1f} s of the server's CPU; {sum(run['again'] for run in runs):g} lost and made anew"
    )
    notes = {
        "connect": f"{AT_ONCE} logins at once; {cost}",
        "join-p99": f"{JOINS} joins in each run, seen by all; p50 {middle['join-p50']:.3f} s",
        "join-cpu": f"{JOINS} joins in each run, with home and endpoints",
        "rss": "the server, after the joins",
    }
    for name, unit in UNITS.items():
        figures = [run[name] for run in runs]
        limit = LIMITS[name] if count == 1000 else None
        told = f"{notes[name]}; nodes share the machine: {burden()}"
        absent = f"{PEER} was not run"
        yield row(f"control/{name}-{count}", unit, figures, [], peer=PEER, limit=limit, notes=told, absent=absent)
