"""What `firewall open` has changed, on disk: 0600, made before the first change, gone when all is taken back.

Room: shell. One file for each port. Whoever reads it to take something back holds its lock meanwhile, so that the guard
and `close` do not do it twice.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from ginnel.core.firewall.changes import Record
from ginnel.shell import durable

MAX_SIZE = 1 << 16
LOCK = "firewall-open.lock"
NAME = re.compile(r"firewall-open-(\d{1,5})\.json")


class RecordError(Exception):
    """One line."""


def path_of(state: Path, port: int) -> Path:
    return state / f"firewall-open-{port}.json"


def recorded_ports(state: Path) -> list[int]:
    try:
        found = (NAME.fullmatch(entry.name) for entry in state.iterdir())
        return sorted(int(name[1]) for name in found if name)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RecordError(f"cannot read {state}: {error.strerror}") from None


def create(state: Path, record: Record) -> Path:
    """Raises RecordError, also where there is one."""
    path = path_of(state, record.port)
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.create(path, msgspec.json.encode(record))
        durable.keep_names(state)
    except FileExistsError:
        raise RecordError(f"{path} is there already: run `ginnel firewall close` first") from None
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}; give another directory with --state") from None
    return path


def read(path: Path) -> Record | None:
    """None: there is none. Raises RecordError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}; repeat the command with sudo") from None
    try:
        if len(data) > MAX_SIZE:
            raise ValueError
        return msgspec.json.decode(data, type=Record)
    except ValueError:  # msgspec's errors are such
        raise RecordError(f"{path} is damaged: look at the firewall's rules by hand, then delete the file") from None


@contextmanager
def held(path: Path) -> Iterator[Record | None]:
    """The record, its lock held; None where it has gone."""
    descriptor = _locked(path)
    if descriptor is None:
        yield None
        return
    try:
        yield read(path)
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int | None:
    """None: there is no such file. While we waited for the lock another may have come in its place."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RecordError(f"cannot read {path}: {error.strerror}; repeat the command with sudo") from None
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False)):
                return descriptor
        os.close(descriptor)


@contextmanager
def turn(state: Path) -> Iterator[None]:
    """One command at a time; the guard does not wait for it. The directory's own lock is the daemon's."""
    try:
        descriptor = os.open(state / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:  # nothing is recorded, so nobody has a turn
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace(path: Path, record: Record) -> None:
    """With the lock held."""
    durable.replace(path, msgspec.json.encode(record))
