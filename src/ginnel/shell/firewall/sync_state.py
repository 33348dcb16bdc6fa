"""The last good state on disk: 0600, replaced whole, held by one process at a time.

Room: shell. It is synced before the set changes by it, so whatever happens after that a start finds what was known.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from ipaddress import ip_address
from pathlib import Path

import msgspec

from ginnel.core.firewall.sync_words import MAX_ADDRESSES, Question, Saved, SavedLeaving
from ginnel.words import WallTime

VERSION = 1
SIZE_LIMIT = 64 << 20
LOCK_PATIENCE, LOCK_PAUSE = 3.0, 0.05


class StateError(Exception):
    """One line for people."""


class _Vouched(msgspec.Struct, frozen=True):
    name: str
    family: int
    ttl: float
    addresses: list[str]


class _Leaving(msgspec.Struct, frozen=True):
    address: str
    left: float
    name: str
    family: int
    why: str
    stranger: bool = False


class _File(msgspec.Struct, frozen=True):
    version: int
    at: float
    serial: int
    vouched: list[_Vouched]
    leaving: list[_Leaving]


class Store:
    """The state of one set. Raises StateError when another process keeps the same set."""

    def __init__(self, directory: Path, backend: str, name: str) -> None:
        self.path = state_file(directory, backend, name)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock = os.open(self.path.with_suffix(".lock"), flags, 0o600)
        except OSError as error:
            raise StateError(f"cannot write to {directory}: {error.strerror}; choose another --state DIR") from None
        if not self._locked():
            os.close(self._lock)
            raise StateError(f"another `ginnel firewall sync` keeps {name} already: end that one first")

    def _locked(self) -> bool:
        """One that was just killed may take a moment to go."""
        for _ in range(round(LOCK_PATIENCE / LOCK_PAUSE)):
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(LOCK_PAUSE)
            else:
                return True
        return False

    def close(self) -> None:
        os.close(self._lock)

    def load(self) -> tuple[Saved, float]:
        """Raises StateError."""
        return load(self.path)

    def save(self, saved: Saved) -> None:
        """Raises StateError."""
        draft = self.path.with_suffix(".new")
        try:
            draft.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
                file.write(msgspec.json.encode(_file(saved, WallTime(time.time()))))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            raise StateError(f"cannot write {self.path}: {error.strerror}; a restart now would know less") from None


def state_file(directory: Path, backend: str, name: str) -> Path:
    """One for each set."""
    digest = hashlib.sha256(f"{backend}\0{name}".encode()).hexdigest()[:12]
    return directory / f"sync-{backend}-{digest}.json"


def load(path: Path) -> tuple[Saved, float]:
    """What was saved, and how many seconds ago. Raises StateError when there is something that cannot be read: then
    nothing is known, as at the first start."""
    try:
        with path.open("rb") as file:
            stored = _decode(file.read(SIZE_LIMIT))
        saved = _saved(stored)
    except FileNotFoundError:
        return Saved(), 0.0
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StateError(f"{path} cannot be read ({str(error)[:120]}): going on without it") from None
    return saved, max(0.0, time.time() - stored.at)


def _decode(data: bytes) -> _File:
    stored = msgspec.json.decode(data, type=_File)
    if stored.version != VERSION:
        raise ValueError(f"version {stored.version}, expected {VERSION}")
    if sum(len(one.addresses) for one in stored.vouched) + len(stored.leaving) > 4 * MAX_ADDRESSES:
        raise ValueError("too many addresses")
    return stored


def _saved(stored: _File) -> Saved:
    return Saved(
        stored.serial,
        tuple(
            (_question(one.name, one.family), frozenset(map(ip_address, one.addresses)), one.ttl)
            for one in stored.vouched
        ),
        tuple(
            SavedLeaving(ip_address(one.address), one.left, _question(one.name, one.family), one.why, one.stranger)
            for one in stored.leaving
        ),
    )


def _question(name: str, family: int) -> Question:
    return Question(name, 4 if family == 4 else 6 if family == 6 else 0)


def _file(saved: Saved, now: WallTime) -> _File:
    return _File(
        VERSION,
        now,
        saved.serial,
        [_Vouched(q.name, q.family, ttl, list(map(str, addresses))) for q, addresses, ttl in saved.vouched],
        [
            _Leaving(str(one.address), one.left, one.question.name, one.question.family, one.why, one.stranger)
            for one in saved.leaving
        ],
    )
