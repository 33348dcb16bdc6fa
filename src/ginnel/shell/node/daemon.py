"""`ginneld`: everything is checked before anything is made, and what was made goes again.

Room: shell. The loop is asyncio's own: no packet passes it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from ginnel.shell.node import local_socket
from ginnel.shell.node.backend import NodeBackend
from ginnel.shell.node.contained import start
from ginnel.shell.node.doctor_desk import DoctorDesk
from ginnel.shell.node.engine import StartError
from ginnel.shell.node.local_api import LocalApi
from ginnel.shell.node.local_socket import SocketTaken
from ginnel.shell.node.log_upload import LogUpload, private_id
from ginnel.shell.node.node import MeshNode
from ginnel.shell.node.peer_api import PeerApi
from ginnel.shell.node.state import StateError, StateFile
from ginnel.shell.node.tunnel import open_pump

log = logging.getLogger(__name__)

__all__ = ["Options", "StartError", "run", "serve"]


@dataclass(frozen=True, slots=True)
class Options:
    """The daemon's arguments. `log_target`: https://host where the log is uploaded to, "" for nowhere."""

    state: Path
    socket: Path
    port: int = 41641
    tun: str = "ginnel0"
    port_mapping: bool = True
    verbose: int = 0
    log_target: str = ""


def run(options: Options) -> None:
    """Serve until SIGINT or SIGTERM. Raises StartError with nothing left behind."""
    _log_to_stderr(options.verbose, uploads=bool(options.log_target))
    os.umask(0o077)
    try:
        asyncio.run(serve(options))
    except (StateError, SocketTaken) as error:
        raise StartError(str(error)) from None


async def serve(options: Options) -> None:
    """State read, socket bound, state written, TUN open: in this order, undone in the other."""
    file = StateFile(options.state)
    file.read()  # a damaged one is refused before anything is made
    bound = local_socket.listen(options.socket)
    try:
        state = file.open()
        logs = _log_upload(options)
        node = MeshNode(
            state=state,
            file=file,
            tun=options.tun,
            port=options.port,
            open_pump=lambda key: open_pump(key, options.tun),
            port_mapping=options.port_mapping,
            logs=logs,
        )
        desk = DoctorDesk(node)
        node.peer_api = PeerApi(tun=options.tun, asker=desk.asker, testify=desk.testify, changed=node.tell_server)
        try:
            _open(node, file)
            await _serve(node, bound, logs)
        finally:
            node.close()
    finally:
        file.close()
        local_socket.remove(options.socket, bound)


def _open(node: MeshNode, file: StateFile) -> None:
    try:
        node.open()
    except StartError:
        file.undo()
        raise


def _log_upload(options: Options) -> LogUpload | None:
    if not options.log_target:
        return None
    try:
        logs = LogUpload(options.log_target, private_id(options.state))
    except OSError as error:
        raise StartError(f"cannot keep the log's id in {options.state}: {error.strerror}; make it writable") from None
    logs.listen()
    return logs


async def _serve(node: MeshNode, bound: local_socket.Bound, logs: LogUpload | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    gc.freeze()
    try:
        async with asyncio.TaskGroup() as tasks:
            work = [tasks.create_task(node.run()), tasks.create_task(LocalApi(NodeBackend(node)).serve(bound.listener))]
            if logs is not None:
                work.append(start(tasks, logs.run()))
            log.info("ready")
            await stopping.wait()
            for task in work:
                task.cancel()
    except* StartError as group:
        raise _first(group) from None


def _first(group: BaseExceptionGroup[StartError]) -> StartError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, StartError)
    return error


def _log_to_stderr(verbose: int, *, uploads: bool) -> None:
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    if uploads:  # at least what would be read where it is uploaded to; stderr stays as it was asked for
        for handler in logging.getLogger().handlers:
            handler.setLevel(level)
        logging.getLogger().setLevel(min(level, logging.INFO))
    for chatty in ("hpack", "h2", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
