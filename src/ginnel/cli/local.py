"""Asking the daemon on its unix socket, with a few lines of HTTP: `ginnel status` must start in an instant, and
`http.client` takes 23 ms to import.

Room: cli.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any, NoReturn

DEFAULT_SOCKET = "/run/ginnel/ginneld.sock"
HOST = "local-ginneld.sock"
BASE = "/localapi/v0/"
MAX_LINE = 8192


def fail(line: str) -> NoReturn:
    """One line on stderr, exit status 1."""
    print(plain(line), file=sys.stderr)
    sys.exit(1)


def plain(text: str) -> str:
    """Without control characters: names come from other machines, and this is somebody's terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


class BadAnswer(Exception):
    """Not HTTP, or cut short."""


class ApiError(Exception):
    """The daemon refused; its words."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class NoDaemon(Exception):
    """Nobody there, or gone while it was asked; one line for people."""


class NotAllowed(NoDaemon):
    """Its socket is another user's."""


class _Answer:
    """One answer of the daemon, which closes the connection behind it; a stream of lines comes in chunks."""

    def __init__(self, connection: socket) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")
        try:
            self._read_head()
        except BaseException:
            self.close()
            raise

    def _read_head(self) -> None:
        self.status = int(self._line().split()[1])
        headers = dict(line.lower().split(b": ", 1) for line in iter(self._line, b""))
        self._chunked = headers.get(b"transfer-encoding") == b"chunked"

    def _line(self) -> bytes:
        line = self._file.readline(MAX_LINE)
        if not line.endswith(b"\r\n"):
            raise BadAnswer
        return line[:-2]

    def read(self) -> bytes:
        return b"".join(self.chunks()) if self._chunked else self._file.read()

    def chunks(self) -> Iterator[bytes]:
        while size := int(self._line(), 16):
            yield self._file.read(size)
            self._line()

    def close(self) -> None:
        self._file.close()
        self._connection.close()


class Local:
    """The daemon's local API. Where it cannot be reached the command ends with one line."""

    def __init__(self, path: str) -> None:
        self._path = path

    def get(self, name: str, *, timeout: float | None = 30.0) -> Any:
        return self._patiently("GET", name, None, timeout)

    def post(self, name: str, body: object = None, *, timeout: float | None = 30.0) -> Any:
        return self._patiently("POST", name, body, timeout)

    def patch(self, name: str, body: object) -> Any:
        return self._patiently("PATCH", name, body, 30.0)

    def wait_for_daemon(self, limit: float) -> None:
        """One that was started a moment ago, as in `ginneld & ginnel up`, does not listen yet."""
        started = time.monotonic()
        told = False
        while not self.listens() and (waited := time.monotonic() - started) < limit:
            if waited > 1.0 and not told:
                print("Waiting for ginneld to start ...", flush=True)
                told = True
            time.sleep(0.02)

    def why_silent(self) -> str:
        """ "" where a daemon listens, else why not."""
        return "" if self.listens() else f"ginneld does not run: nothing answers on {self._path}"

    def listens(self) -> bool:
        """Whether a daemon is there now."""
        with socket(AF_UNIX, SOCK_STREAM) as probe:
            return probe.connect_ex(self._path) not in (errno.ENOENT, errno.ECONNREFUSED)

    def _patiently(self, method: str, name: str, body: object, timeout: float | None) -> Any:
        try:
            return self.ask(method, name, body, timeout)
        except TimeoutError:
            fail("the daemon does not answer; look at its log, or restart it")

    def stream(self, name: str, timeout: float | None) -> Iterator[dict[str, Any]]:
        """JSON lines until the daemon ends them. Raises TimeoutError after `timeout` seconds of silence."""
        try:
            answer = self._open("GET", name, None, timeout)
        except NoDaemon as error:
            fail(str(error))
        try:
            for chunk in answer.chunks():  # the daemon writes each line as one chunk
                yield json.loads(chunk)
        except (BadAnswer, ValueError, IndexError, ConnectionError):
            fail("the daemon went away while it was asked; look at its log")
        finally:
            answer.close()

    def ask(self, method: str, name: str, body: object, timeout: float | None) -> Any:
        """The answer's JSON. Raises ApiError, and TimeoutError where it takes longer."""
        try:
            return self.try_to_ask(method, name, body, timeout)
        except NoDaemon as error:
            fail(str(error))

    def try_to_ask(self, method: str, name: str, body: object, timeout: float | None) -> Any:
        """The same for who can do without: raises NoDaemon too."""
        try:
            answer = self._open(method, name, body, timeout)
            try:
                data = answer.read()
            finally:
                answer.close()
            return json.loads(data) if data else None
        except (BadAnswer, ValueError, IndexError, ConnectionError):
            raise NoDaemon("the daemon went away while it was asked; look at its log") from None

    def _open(self, method: str, name: str, body: object, timeout: float | None) -> _Answer:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {BASE}{name} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(data)}\r\n\r\n"
        connection = socket(AF_UNIX, SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            return self._answer(connection, head.encode("ascii") + data)
        except BaseException:
            connection.close()
            raise

    def _answer(self, connection: socket, request: bytes) -> _Answer:
        try:
            connection.connect(self._path)
            connection.sendall(request)
        except (FileNotFoundError, ConnectionRefusedError):
            why = f"ginneld is not running (nothing answers on {self._path}): start it with `sudo ginneld`"
            raise NoDaemon(why) from None
        except PermissionError:
            raise NotAllowed(f"not allowed to open {self._path}: repeat the command with sudo") from None
        answer = _Answer(connection)
        if answer.status >= 400:
            line = _error_line(answer.read())
            answer.close()
            raise ApiError(answer.status, line)
        return answer


def _error_line(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return "the daemon gave an answer that is not understood; are both of the same version?"


def local(path: str | None) -> Local:
    return Local(path or os.environ.get("GINNEL_SOCKET") or DEFAULT_SOCKET)
