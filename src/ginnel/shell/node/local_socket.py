"""The daemon's unix socket: one daemon for each, a stale one is taken away, a live one is respected.

Room: shell.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


class SocketTaken(Exception):
    """One line for people."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The listening socket, and the inode of its file."""

    listener: socket.socket
    inode: int


def listen(path: Path) -> Bound:
    """Bind and listen, mode 0666: rights go by the uid that connects. Raises SocketTaken."""
    try:
        _make_directory(path.parent)
        _remove_stale(path)
        return Bound(_bind(path), path.lstat().st_ino)
    except OSError as error:
        raise SocketTaken(f"cannot listen on {path}: {error.strerror}; name another place with --socket") from None


def _make_directory(path: Path) -> None:
    """Everybody on the machine may ask for the status, whatever umask the keys are written under."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return
    path.chmod(0o755)


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise SocketTaken(f"{path} is there and is no socket; name another place with --socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()  # its daemon is gone
            return
    raise SocketTaken(f"another ginneld answers on {path}; stop it, or name another place with --socket")


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o666)
        listener.listen(64)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def remove(path: Path, bound: Bound) -> None:
    """Close, and take the file away if it is still the one that was bound."""
    bound.listener.close()
    with suppress(FileNotFoundError):
        if path.lstat().st_ino == bound.inode:
            path.unlink()
