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
        raise ToolError(_refusal(argv, done))
    return done.stdout


def says_yes(argv: Sequence[str]) -> bool:
    """Status 0 is yes and 1 is no. Raises ToolError: not installed, too slow, no answer."""
    done = _done(argv, "")
    if done.returncode not in (0, 1):
        raise ToolError(_refusal(argv, done))
    return done.returncode == 0


def _refusal(argv: Sequence[str], done: subprocess.CompletedProcess[str]) -> str:
    said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[0]
    return f"`{' '.join(argv)}` failed: {said[:300]}"


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
    """The caller's own first; cron and the like have no sbin in theirs."""
    return ":".join(part for part in (os.environ.get("PATH", ""), SYSTEM_PATH) if part)
