"""Asking the daemon on its unix socket, with the standard library alone: `ginnel status` must start in an instant.

Room: cli.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any, NoReturn

DEFAULT_SOCKET = "/run/ginnel/ginneld.sock"
HOST = "local-ginneld.sock"
BASE = "/localapi/v0/"


def fail(line: str) -> NoReturn:
    """One line on stderr, exit status 1."""
    print(plain(line), file=sys.stderr)
    sys.exit(1)


def plain(text: str) -> str:
    """Without control characters: names come from other machines, and this is somebody's terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


class ApiError(Exception):
    """The daemon refused; its words."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__(HOST, timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket(AF_UNIX, SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Local:
    """The daemon's local API. Where it cannot be reached the command ends with one line."""

    def __init__(self, path: str) -> None:
        self._path = path

    def get(self, name: str, *, timeout: float | None = 30.0) -> Any:
        return self._ask("GET", name, None, timeout)

    def post(self, name: str, body: object = None, *, timeout: float | None = 30.0) -> Any:
        return self._ask("POST", name, body, timeout)

    def patch(self, name: str, body: object) -> Any:
        return self._ask("PATCH", name, body, 30.0)

    def stream(self, name: str, timeout: float | None) -> Iterator[dict[str, Any]]:
        """JSON lines until the daemon ends them. Raises TimeoutError after `timeout` seconds of silence."""
        connection, response = self._open("GET", name, None, timeout)
        try:
            while line := response.readline():
                yield json.loads(line)
        except (HTTPException, ConnectionError):
            fail("the daemon went away while it was asked; look at its log")
        finally:
            connection.close()

    def _ask(self, method: str, name: str, body: object, timeout: float | None) -> Any:
        try:
            connection, response = self._open(method, name, body, timeout)
            answer = response.read()
            connection.close()
        except TimeoutError:
            fail("the daemon does not answer; look at its log, or restart it")
        return json.loads(answer) if answer else None

    def _open(self, method: str, name: str, body: object, timeout: float | None) -> tuple[HTTPConnection, HTTPResponse]:
        connection = _UnixConnection(self._path, timeout)
        data = None if body is None else json.dumps(body)
        try:
            connection.request(method, BASE + name, data)
            response = connection.getresponse()
        except (FileNotFoundError, ConnectionRefusedError):
            fail(f"ginneld is not running (nothing answers on {self._path}): start it with `sudo ginneld`")
        except PermissionError:
            fail(f"not allowed to open {self._path}: repeat the command with sudo")
        except (HTTPException, ConnectionError):
            fail("the daemon went away while it was asked; look at its log")
        if response.status >= 400:
            line = _error_line(response.read())
            connection.close()
            raise ApiError(response.status, line)
        return connection, response


def _error_line(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return "the daemon gave an answer that is not understood; are both of the same version?"


def local(path: str | None) -> Local:
    return Local(path or os.environ.get("GINNEL_SOCKET") or DEFAULT_SOCKET)
