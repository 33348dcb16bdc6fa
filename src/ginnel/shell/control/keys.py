"""The server's own keys: made once, kept for ever.

Room: shell. Clients hold on to the key they saw first, so it is never made anew because it could not be read (C23).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ginnel.shell import durable
from ginnel.wire.allowlist import FeedPrivate
from ginnel.words import BadKey, MachinePrivate

Key = TypeVar("Key")
DAMAGED = "it is damaged"


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
    text = _load_or_make(path, lambda: MachinePrivate(os.urandom(32)).secret_text(), "the server's key", "every node")
    return _parsed(path, text, MachinePrivate.parse, "the server's key", "every node")


def load_or_make_feed_key(path: Path) -> FeedPrivate:
    """The same, of the key that signs the allowlist."""
    what, who = "the allowlist's key", "whoever follows the allowlist"
    text = _load_or_make(path, lambda: FeedPrivate(os.urandom(32)).secret_text(), what, who)
    return _parsed(path, text, FeedPrivate.parse, what, who)


def _load_or_make(path: Path, make: Callable[[], str], what: str, who: str) -> str:
    try:
        if not os.path.lexists(path):
            _make(path, make())
    except OSError as error:
        raise StateError(f"cannot write {what} {path}: {error.strerror}") from None
    return _read(path, what, who)


def _make(path: Path, text: str) -> None:
    """Under another name first: a start that is killed here leaves no half a key that the next one would refuse."""
    draft = durable.draft(path, f"{text}\n".encode())
    os.link(draft, path)  # never over a key that is there
    draft.unlink()
    durable.keep_names(path.parent)


def _read(path: Path, what: str, who: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StateError(f"{what} {path} is not a file")
            return file.read(200).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, what, who, (error.strerror if isinstance(error, OSError) else "") or DAMAGED) from None


def _parsed(path: Path, text: str, parse: Callable[[str], Key], what: str, who: str) -> Key:
    try:
        return parse(text)
    except BadKey:
        raise _unusable(path, what, who, DAMAGED) from None


def _unusable(path: Path, what: str, who: str, reason: str) -> StateError:
    return StateError(f"cannot read {what} {path}: {reason}; restore it from a backup, for {who} knows this key")
