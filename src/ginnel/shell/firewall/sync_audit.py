"""Who changed a set of addresses, when, what and why: a line of JSON for each address, appended.

Room: shell. The file is opened for each change, so that it may be rotated at any time. 0600 when it is made here; what
an administrator made readable for a group stays so.
"""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ginnel.core.firewall.sync_words import sorted_addresses
from ginnel.words import IpAddress


class AuditError(Exception):
    """One line for people."""


class Audit:
    """`path` None: nothing is written. `target`: backend and set."""

    def __init__(self, path: Path | None, target: str, source: str) -> None:
        self._path = path
        self._fixed = {"who": who(), "pid": os.getpid(), "set": target, "source": source}

    def check(self) -> None:
        """Before anything is changed. Raises AuditError."""
        self._write(b"")

    def changed(self, adds: Mapping[IpAddress, str], removes: Mapping[IpAddress, str]) -> None:
        """After it was done. Raises AuditError."""
        at = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        lines = [
            json.dumps({"at": at, "what": what, "address": str(address), "why": reasons[address], **self._fixed})
            for what, reasons in (("add", adds), ("remove", removes))
            for address in sorted_addresses(reasons)
        ]
        self._write("".join(line + "\n" for line in lines).encode())

    def _write(self, data: bytes) -> None:
        if self._path is None:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(self._path, flags, 0o600), "ab", buffering=0) as file:
                file.write(data)
        except OSError as error:
            raise AuditError(f"cannot write the audit log {self._path}: {error.strerror}") from None


def who() -> str:
    """The user, and who became that by sudo."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    before = os.environ.get("SUDO_USER", "")
    return f"{name} (sudo by {before})" if before and before.isprintable() else name
