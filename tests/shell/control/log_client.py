"""A client of the log host in a test: requests as bytes, answers as they come."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ginnel.shell.control.logsink import LogHost
from ginnel.shell.control.run import ControlServer
from tests.shell.control.control_client import PATIENCE

NAME = "log.example.com"
LOG_HOST: dict[str, Any] = {"log_host": {"names": [NAME]}}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str


def host_of(server: ControlServer) -> LogHost:
    assert server.log_host is not None
    return server.log_host


def private(number: int) -> str:
    return f"{number:064x}"


def public(number: int) -> str:
    return hashlib.sha256(bytes.fromhex(private(number))).hexdigest()


def entries(*texts: str) -> bytes:
    return json.dumps([{"text": text + "\n"} for text in texts]).encode()


def request(path: str, body: bytes, *, host: str = NAME, method: str = "POST", headers: Sequence[str] = ()) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    async with asyncio.timeout(PATIENCE):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if name}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(head[0].split()[1]), headers, body.decode())


async def ask(server: ControlServer, data: bytes) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.plain_ports()[0])
    try:
        writer.write(data)
        return await read_answer(reader)
    finally:
        writer.close()


async def upload(server: ControlServer, number: int, *texts: str) -> Answer:
    return await ask(server, request(f"/c/tailnode/{private(number)}", entries(*texts)))
