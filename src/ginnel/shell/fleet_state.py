"""What a relay of a fleet keeps on disk: its machine key, its server, and the members it heard of last.

Room: shell. All 0600, made exclusively, replaced whole.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ginnel.shell.relay_files import read_or_create, replace_file
from ginnel.shell.relay_settings import RelayError
from ginnel.words import BadKey, MachineKey, MachinePrivate, NodeKey, WallTime

MACHINE_FILE = "machine.key"
HOME_FILE = "fleet.json"
MEMBERS_FILE = "members.json"
LEAVING_FILE = "leaving"


@dataclass(frozen=True, slots=True)
class Home:
    """The server that the relay belongs to."""

    url: str
    server_key: MachineKey


class _Home(msgspec.Struct, frozen=True):
    url: str
    server_key: str


class _Members(msgspec.Struct, frozen=True):
    heard: float
    members: list[str]


def machine_key(state: Path) -> MachinePrivate:
    """Made at the first start. Raises RelayError."""
    path = state / MACHINE_FILE
    text = read_or_create(path, lambda: MachinePrivate(secrets.token_bytes(32)).secret_text().encode() + b"\n")
    try:
        return MachinePrivate.parse(text.decode("ascii", "replace").strip())
    except BadKey as error:
        raise RelayError(f"{path} holds no machine key ({error}): restore it, or remove it and join anew") from None


def read_home(state: Path) -> Home | None:
    """None: this relay is of no fleet. Raises RelayError."""
    path = state / HOME_FILE
    if not path.exists():
        return None
    try:
        stored = msgspec.json.decode(path.read_bytes(), type=_Home)
        return Home(stored.url, MachineKey.parse(stored.server_key))
    except (OSError, msgspec.MsgspecError, BadKey):
        raise RelayError(f"{path} cannot be read: remove it and join anew with a token") from None


def write_home(state: Path, home: Home) -> None:
    """Raises RelayError."""
    replace_file(state / HOME_FILE, msgspec.json.encode(_Home(home.url, str(home.server_key))))


def note_leaving(state: Path) -> None:
    """That it was this relay's wish to be drained, so that it takes it back when it starts again. Raises RelayError."""
    replace_file(state / LEAVING_FILE, b"")


def was_leaving(state: Path) -> bool:
    return (state / LEAVING_FILE).exists()


def forget_leaving(state: Path) -> None:
    (state / LEAVING_FILE).unlink(missing_ok=True)


def write_members(state: Path, members: Collection[NodeKey], heard: WallTime) -> None:
    """Raises RelayError."""
    replace_file(state / MEMBERS_FILE, msgspec.json.encode(_Members(heard, sorted(map(str, members)))))


def read_members(state: Path) -> tuple[list[NodeKey], WallTime]:
    """(members, when they were heard of); none where they cannot be read: who is not known is not let in."""
    try:
        stored = msgspec.json.decode((state / MEMBERS_FILE).read_bytes(), type=_Members)
        return [NodeKey.parse(text) for text in stored.members], WallTime(stored.heard)
    except (OSError, msgspec.MsgspecError, BadKey):
        return [], WallTime(0.0)
