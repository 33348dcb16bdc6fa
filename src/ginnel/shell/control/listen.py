"""What a server listens on, and the lock that keeps a second one away.

Room: shell.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path

from starlette.types import ASGIApp
from uvicorn.config import Config

from ginnel.shell.control.beside import StartError
from ginnel.shell.control.config import split_endpoint
from ginnel.shell.control.front import KEEP_ALIVE, FrontProtocol


def uvicorn_config(app: ASGIApp) -> Config:
    config = Config(
        app,
        http=FrontProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        h11_max_incomplete_event_size=16 * 1024,
    )
    config.load()
    return config


def tcp_listener(endpoint: str) -> socket.socket:
    host, port = split_endpoint(endpoint)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartError(
            f"cannot listen on {endpoint}: {error.strerror}; choose another address or stop who has it"
        ) from None
    listener.setblocking(False)
    return listener


def unlink_stale(path: Path) -> None:
    """A socket left by a server that was killed; the lock says that none is alive."""
    path.unlink(missing_ok=True)


def take_lock(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StartError(f"cannot use the lock {path}: {error.strerror}; remove it if no server runs") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StartError(
            f"another server uses {path.parent}; stop it, or choose another directory by --state"
        ) from None
    return descriptor


async def unix_server(path: Path, protocol: Callable[[], asyncio.Protocol]) -> asyncio.Server:
    """The directory is 0700, so nobody else can reach the socket between its making and the chmod.

    Raises StartError."""
    unlink_stale(path)
    try:
        server = await asyncio.get_running_loop().create_unix_server(protocol, str(path), backlog=1024)
        os.chmod(path, 0o600)  # noqa: PTH101
    except OSError as error:
        raise StartError(f"cannot listen on {path}: {error.strerror}; choose a shorter --state") from None
    return server
