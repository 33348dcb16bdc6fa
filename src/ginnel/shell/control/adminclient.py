"""The admin socket as the commands see it.

Room: shell. Standard library only, so that a command answers quickly.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any

TIMEOUT = 30.0


class AdminError(Exception):
    """One line for the person at the terminal."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(str(self._path))


def call(path: Path, verb: str, arguments: dict[str, Any]) -> Any:
    """What the server answers to the verb. Raises AdminError."""
    connection = _UnixConnection(path)
    try:
        connection.request("POST", f"/v1/{verb}", json.dumps(arguments), {"content-type": "application/json"})
        response = connection.getresponse()
        body = response.read()
    except (FileNotFoundError, ConnectionRefusedError):
        sudo = "" if os.geteuid() == 0 else "repeat this with sudo where root runs it, "
        raise AdminError(
            f"no server listens at {path}: {sudo}start it with `ginnel server run`, or name its directory by --state"
        ) from None
    except PermissionError:
        raise AdminError(f"no permission to use {path}: run this as root or as the server's user") from None
    except (http.client.HTTPException, OSError) as error:
        raise AdminError(
            f"the server at {path} closed the connection ({error}); run this as its user or root"
        ) from None
    finally:
        connection.close()
    return _answer(response.status, body)


def _answer(status: int, body: bytes) -> Any:
    try:
        answer = json.loads(body)
    except ValueError:
        raise AdminError(f"the server answered {status} and no JSON; is it of another version?") from None
    if status != http.client.OK:
        raise AdminError(str(answer.get("error", f"the server answered {status}")))
    return answer
