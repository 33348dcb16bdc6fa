"""Running the firewalls' own programs: argument lists, no shell, a limit of time and of what is read.

Room: shell.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

TIME = 30.0
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class ToolError(Exception):
    """One line: which program, what it said."""


def found(program: str) -> str | None:
    return shutil.which(program, path=_path())


def run(argv: Sequence[str], stdin: str = "") -> str:
    """What it prints. Raises ToolError: not installed, too slow, or it refused."""
    done = _done(argv, stdin)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[0]
        raise ToolError(f"`{' '.join(argv)}` failed: {said[:300]}")
    return done.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Raises ToolError: not installed, too slow."""
    return _done(argv, "").returncode == 0


def _done(argv: Sequence[str], stdin: str) -> subprocess.CompletedProcess[str]:
    program = found(argv[0])
    if program is None:
        raise ToolError(f"{argv[0]} is not installed: install it, or name another firewall with --backend")
    environment = {"PATH": _path(), "LC_ALL": "C", "LANG": "C"}
    bus = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    if bus:
        environment["DBUS_SYSTEM_BUS_ADDRESS"] = bus
    try:
        return subprocess.run(
            [program, *argv[1:]], input=stdin, capture_output=True, text=True, errors="replace", timeout=TIME,
            check=False, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ToolError(f"`{' '.join(argv)}` did not end within {TIME:.0f} s; try it by hand") from None
    except OSError as error:
        raise ToolError(f"{argv[0]} cannot be run: {error.strerror}") from None


def _path() -> str:
    return f"{SYSTEM_PATH}:{os.environ.get('PATH', '')}"
