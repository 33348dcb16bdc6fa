"""Which labs stand on this machine, and the sweeping of those whose owner died.

Room: lab. A lab is a directory under /run/ginnel-lab whose name prefixes each of its namespaces. The directory comes
before the first namespace and goes after the last. Its owner holds a lock on it, which the kernel drops however the
owner ends; so a lab without a lock is nobody's, unless a file says that it was left standing on purpose, and something
still runs in it: what a killed test left standing dies with the test.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ginnel.lab import LabError
from ginnel.lab.namespace import NAMED, run

ROOT = Path("/run/ginnel-lab")
KEPT = "kept"  # holds the scenario's name
END_LIMIT = 3.0
CLAIMS = 10
BIRTH = 60.0


def claim() -> tuple[Path, int]:
    """A fresh lab's directory and the descriptor whose lock says that its owner lives."""
    try:
        for _ in range(CLAIMS):
            if (claimed := claim_once(f"gl{secrets.token_hex(3)}")) is not None:
                return claimed
    except OSError as error:
        raise LabError(f"cannot make {ROOT}: {error.strerror}; run it as root") from None
    raise LabError(f"{ROOT} is swept faster than a lab can be made in it; try again")


def claim_once(name: str) -> tuple[Path, int] | None:
    """None when a sweep came between the making and the locking, and took the directory for a dead owner's."""
    directory = ROOT / name
    try:
        ROOT.mkdir(mode=0o755, exist_ok=True)
        directory.mkdir(mode=0o755)
        lock = try_lock(directory, os.O_CREAT)
    except FileNotFoundError:
        return None
    if lock is None:
        return None
    if not directory.exists() or os.fstat(lock).st_nlink == 0:
        os.close(lock)
        return None
    return directory, lock


def try_lock(directory: Path, flags: int = 0) -> int | None:
    """A descriptor that holds the lock; None when somebody else does. FileNotFoundError where there is none."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def labs() -> list[Path]:
    return sorted(ROOT.glob("gl*")) if ROOT.is_dir() else []


def keep(directory: Path, scenario: str) -> None:
    (directory / KEPT).write_text(scenario)


def kept() -> dict[str, Path]:
    """Labs left standing, by scenario."""
    return {(lab / KEPT).read_text(): lab for lab in labs() if (lab / KEPT).exists()}


def sweep() -> list[str]:
    """Tear down each lab whose owner is dead; their names."""
    swept = []
    for directory in labs():
        if (directory / KEPT).exists() and is_lived_in(directory):
            continue
        with suppress(OSError):  # its owner, or another sweep, was quicker; or it is being made just now
            if abandoned_at_birth(directory):
                directory.rmdir()
        with suppress(FileNotFoundError):
            lock = try_lock(directory)
            if lock is not None:
                demolish(directory)
                os.close(lock)
                swept.append(directory.name)
    return swept


def is_lived_in(directory: Path) -> bool:
    inodes = {(NAMED / name).stat().st_ino for name in namespaces_of(directory)}
    return any(processes_in(inodes))


def abandoned_at_birth(directory: Path) -> bool:
    """Its owner died between making it and locking it."""
    return not (directory / "lock").exists() and directory.stat().st_mtime < time.time() - BIRTH


def demolish(directory: Path) -> None:
    """End a lab's processes, delete its namespaces and with them every link, then the directory."""
    names = namespaces_of(directory)
    end_processes(names)
    if names:
        run(["ip", "-batch", "-"], "".join(f"netns del {name}\n" for name in names))
    shutil.rmtree(directory)
    with suppress(OSError):  # other labs stand
        ROOT.rmdir()


def namespaces_of(directory: Path) -> list[str]:
    return sorted(path.name for path in NAMED.glob(f"{directory.name}-*"))


def end_processes(names: list[str]) -> None:
    """Kill whatever runs inside, and wait until it is gone: a socket held keeps a namespace alive."""
    inodes = {(NAMED / name).stat().st_ino for name in names}
    deadline = time.monotonic() + END_LIMIT
    while found := list(processes_in(inodes)):
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise LabError(f"processes {found} of a lab do not die; look at them with ps")
        time.sleep(0.005)


def processes_in(inodes: set[int]) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):  # gone meanwhile, or a zombie
                if (entry / "ns/net").stat().st_ino in inodes:
                    yield int(entry.name)
