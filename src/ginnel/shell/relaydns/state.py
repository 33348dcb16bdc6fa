"""What the relays' DNS keeps over restarts: the serial, learnt addresses, and the names in another server.

Room: shell. Files are replaced whole and not synced: what a power cut takes is made up for by the clock (serial) and by
asking again (addresses); names in another server of relays that left meanwhile then stay there.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from ginnel.core.relaydns.publish import Saved

log = logging.getLogger("ginnel.relaydns")

STATE = "relay-dns.json"
WRITTEN = "relay-dns-update.json"
T = TypeVar("T")


def load(path: Path, kind: type[T], otherwise: T) -> T:
    """What was saved, or `otherwise` where nothing was or it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind, dec_hook=lambda wanted, text: wanted(text))
    except FileNotFoundError:
        return otherwise
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning("%s cannot be read (%s): going on without it", path, error)
        return otherwise


def save(path: Path, value: Saved | list[str]) -> None:
    """A full disk stops neither serving nor updating; it is told."""
    draft = path.with_name(path.name + ".new")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(value, enc_hook=str))
        draft.replace(path)
    except OSError as error:
        log.warning("cannot write %s: %s", path, error.strerror)
