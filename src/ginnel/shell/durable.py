"""Files that a crash or a power cut leaves whole: the old one or the new one, and readable by their owner alone.

Room: shell.
"""

from __future__ import annotations

import os
from pathlib import Path


def draft(path: Path, body: bytes) -> Path:
    """The file that is to come in `path`'s place, 0600 and on the disk, beside it. What a crash left there goes.
    Raises OSError, as everything here does."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    create(fresh, body)
    return fresh


def create(path: Path, body: bytes) -> None:
    """A new file, 0600 whatever the umask is, on the disk; FileExistsError where there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(body)
        file.flush()
        os.fsync(descriptor)


def replace(path: Path, body: bytes) -> None:
    """A crash at any point leaves the old file or the new one."""
    draft(path, body).replace(path)
    keep_names(path.parent)


def keep_names(directory: Path) -> None:
    """Otherwise a power cut may bring back what was here before."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
