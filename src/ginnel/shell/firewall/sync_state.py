"""The last good state on disk: 0600, replaced whole, the one before it kept, held by one process at a time.

Room: shell. It is synced before the set changes by it, so whatever happens after that a start finds what was known.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from ginnel.core.firewall.sync_words import Saved
from ginnel.shell import durable
from ginnel.shell.firewall.sync_state_file import Read, boot_clock, read, write

SIZE_LIMIT = 64 << 20
LOCK_PATIENCE, LOCK_PAUSE = 3.0, 0.05


class StateError(Exception):
    """One line for people."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was saved, `elapsed` seconds ago at the least. `problem`: one line, where it is not what was saved last."""

    saved: Saved = field(default_factory=Saved)
    elapsed: float = 0.0
    key: str = ""
    problem: str = ""


class Store:
    """The state of one set. Raises StateError when another process keeps the same set. `key`: of the feed that is
    followed, "" without one: a serial is of its key alone."""

    def __init__(self, directory: Path, backend: str, name: str, key: str = "") -> None:
        self.path = state_file(directory, backend, name)
        self._key = key
        self._is_good = False  # what stands at `path`
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

    def load(self) -> Loaded:
        found = load(self.path, self._key)
        self._key, self._is_good = found.key, not found.problem
        return found

    def save(self, saved: Saved) -> None:
        """Raises StateError."""
        data, before = write(saved, self._key, boot_clock()), _before(self.path)
        try:
            fresh = durable.draft(self.path, data)
            if self._is_good and self.path.exists():
                self.path.replace(before)
            fresh.replace(self.path)
            if not before.exists():
                durable.draft(self.path, data).replace(before)
            self._is_good = True
            durable.keep_names(self.path.parent)
        except OSError as error:
            raise StateError(f"cannot write {self.path}: {error.strerror}; a restart now would know less") from None


def _before(path: Path) -> Path:
    return path.with_suffix(".old")


def state_file(directory: Path, backend: str, name: str) -> Path:
    """One for each set."""
    digest = hashlib.sha256(f"{backend}\0{name}".encode()).hexdigest()[:12]
    return directory / f"sync-{backend}-{digest}.json"


def load(path: Path, key: str = "") -> Loaded:
    """Where the last one is damaged or gone, the one before it; where there is none, nothing is known, as at the first
    start. `key`: of the feed that will be followed."""
    problems = []
    for place in (path, _before(path)):
        try:
            with place.open("rb") as file:
                found = read(file.read(SIZE_LIMIT), boot_clock())
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            problems.append(f"{place} cannot be read ({str(error)[:120]})")
        else:
            return _of_key(found, key, f"{problems[0]}: the state before it is taken" if problems else "")
    return Loaded(key=key, problem=f"{problems[0]}: going on without it" if problems else "")


def _of_key(found: Read, key: str, problem: str) -> Loaded:
    saved = found.saved
    if key and found.key not in ("", key):  # another mesh's feed, whose serials say nothing of this one's
        saved = replace(saved, serial=0)
    elapsed = 0.0 if problem else found.elapsed  # what was heard meanwhile is not known
    return Loaded(saved, elapsed, key or found.key, problem)
