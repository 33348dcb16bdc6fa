"""The server's own key: made once, kept for ever.

Room: shell. Clients hold on to the key they saw first, so it is never made anew because it could not be read (C23).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ginnel.words import BadKey, MachinePrivate


class StateError(Exception):
    """The state directory cannot be used; one line that says what to do."""


def prepare_directory(path: Path) -> None:
    """Make it 0700, or check that it is ours. Raises StateError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise StateError(
            f"cannot use the state directory {path}: {error.strerror}; choose another by --state"
        ) from None
    if found.st_uid != os.geteuid():
        raise StateError(f"the state directory {path} belongs to another user; run as that user or choose by --state")
    if found.st_mode & 0o077:
        path.chmod(0o700)


def load_or_make_key(path: Path) -> MachinePrivate:
    """Raises StateError when the file is there and cannot be used."""
    try:
        if not os.path.lexists(path):
            _make(path)
    except OSError as error:
        raise StateError(f"cannot write the server's key {path}: {error.strerror}") from None
    return _read(path)


def _make(path: Path) -> None:
    """Under another name first: a start that is killed here leaves no half a key that the next one would refuse."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(MachinePrivate(os.urandom(32)).secret_text() + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.link(draft, path)  # never over a key that is there
    draft.unlink()
    _sync(path.parent)


def _read(path: Path) -> MachinePrivate:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StateError(f"the server's key {path} is not a file")
            return MachinePrivate.parse(file.read(200).strip())
    except (OSError, BadKey, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise StateError(
            f"cannot read the server's key {path}: {reason}; restore it from a backup, for every node knows this key"
        ) from None


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
