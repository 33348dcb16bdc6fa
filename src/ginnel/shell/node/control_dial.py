"""How a coordination server is reached: each of its legs in turn, the upgrade to Noise, the handshake.

Room: shell. Source: tailscale: control/controlhttp/client.go.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Sequence
from urllib.parse import urlsplit

import h11

from ginnel.core.channel import ClientChannel
from ginnel.core.node.control_url import Leg, legs
from ginnel.core.node.login import CAPABILITY_VERSION
from ginnel.shell.node.control_connection import ControlConnection, ControlError
from ginnel.shell.node.dial import DialError, Streams, open_streams, unverified
from ginnel.words import MachineKey, MachinePrivate

OPEN_TIME = 10.0
PROTOCOL = "tailscale-control-protocol"


async def open_connection(
    url: str, machine: MachinePrivate, server_key: MachineKey, *, mark: int, addresses: Sequence[str] = ()
) -> ControlConnection:
    """Dial the server's legs in order until one carries Noise, by these addresses or those that the name resolves to.
    Raises ControlError, of the last leg."""
    failure = ControlError("nothing to dial")
    for leg in legs(url):
        try:
            async with asyncio.timeout(OPEN_TIME):
                return await _open_leg(leg, addresses, url, machine, server_key, mark=mark)
        except TimeoutError:
            failure = ControlError(f"{leg} does not answer")
        except DialError as error:
            failure = ControlError(str(error))
        except ControlError as error:
            failure = error
    raise failure


async def _open_leg(
    leg: Leg, addresses: Sequence[str], url: str, machine: MachinePrivate, server_key: MachineKey, *, mark: int
) -> ControlConnection:
    dialled, tls = [(ip, leg.port) for ip in addresses], unverified() if leg.tls else None
    streams = await open_streams(leg.host, leg.port, mark=mark, tls=tls, addresses=dialled)
    try:
        host = urlsplit(url).netloc.rpartition("@")[2]
        channel = ClientChannel(machine, server_key, CAPABILITY_VERSION, os.urandom(32), authority=host)
        await _upgrade(streams, host, channel.initiation())
        connection = ControlConnection(channel, streams)
    except BaseException:
        streams.writer.close()
        raise
    try:
        await connection.start()
    except BaseException:
        connection.close()
        raise
    return connection


async def _upgrade(streams: Streams, host: str, initiation: bytes) -> None:
    """POST /ts2021 and read the head of the answer; what follows it belongs to Noise. Raises ControlError."""
    handshake = base64.b64encode(initiation).decode()
    streams.writer.write(
        f"POST /ts2021 HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ginnel\r\nContent-Length: 0\r\nConnection: upgrade\r\n"
        f"Upgrade: {PROTOCOL}\r\nX-Tailscale-Handshake: {handshake}\r\n\r\n".encode()
    )
    try:
        head = await streams.reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
        raise ControlError(f"{host} is no coordination server: it does not answer /ts2021") from None
    _check_upgraded(head, host)


def _check_upgraded(head: bytes, host: str) -> None:
    connection = h11.Connection(h11.CLIENT)
    connection.send(
        h11.Request(
            method="POST", target="/ts2021", headers=[("Host", host), ("Connection", "upgrade"), ("Upgrade", PROTOCOL)]
        )
    )
    connection.send(h11.EndOfMessage())
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        raise ControlError(f"{host} is no coordination server: its answer is not HTTP") from None
    status = getattr(event, "status_code", 0)
    upgrade = dict(getattr(event, "headers", [])).get(b"upgrade", b"").lower()
    if status != 101 or upgrade != PROTOCOL.encode():
        raise ControlError(f"{host} is no coordination server: it answers /ts2021 with HTTP {status}")
