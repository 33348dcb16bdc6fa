"""What the daemon remembers across restarts: keys, server, what the user asked for. JSON, 0600, in a 0700 directory.

Room: shell. A file that cannot be read to the last byte is refused, never taken for a fresh start: a node that
silently drew new keys would be another node.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ginnel.core.node.path_policy import PathPolicies, PathPolicy
from ginnel.shell import durable
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import BadKey, MachineKey, MachinePrivate, NodePrivate

FILE = "ginneld.state"
MAX_SIZE = 1 << 20
PIN = "sha256-raw:"


class StateError(Exception):
    """One line for people: what is wrong with the state and what to do."""


class Prefs(msgspec.Struct, frozen=True, rename="pascal"):
    """What the user asked for. `server_key`: the Noise key of the invite, "" where `/key` over TLS is trusted;
    `server_pin`: SHA-256 of the server's certificate in hex, "" where an authority vouches for it.
    `path_policies`: of single peers, by stable node id."""

    control_url: str = msgspec.field(default="", name="ControlURL")
    server_key: str = ""
    server_pin: str = ""
    want_running: bool = False
    logged_out: bool = False
    hostname: str = ""
    accept_routes: bool = msgspec.field(default=False, name="RouteAll")
    advertise_tags: tuple[str, ...] = ()
    no_port_mapping: bool = False
    path_policy: PathPolicy = PathPolicy.AUTO
    path_policies: dict[str, PathPolicy] = msgspec.field(default_factory=dict)

    def paths(self) -> PathPolicies:
        return PathPolicies(self.path_policy, self.path_policies)

    def pinned_key(self) -> MachineKey | None:
        return MachineKey.parse(self.server_key) if self.server_key else None


def server_pins(prefs: Prefs, derp_map: DERPMap | None) -> frozenset[str]:
    """SHA-256 in hex of certificates that the server shows: as its invite said, and its map says of the server's own
    relay, which has the same. The map comes by the channel that the server's Noise key protects."""
    host = urlsplit(prefs.control_url).hostname or ""
    regions = (derp_map.regions or {}).values() if derp_map is not None else ()
    names = [n.cert_name for region in regions if region for n in region.nodes or [] if n.host_name == host]
    told = {name.removeprefix(PIN) for name in names if name.startswith(PIN)}
    return frozenset(told | ({prefs.server_pin} if prefs.server_pin else set()))


class State(msgspec.Struct, frozen=True):
    """Private keys in it: never logged, never answered."""

    machine: MachinePrivate
    node: NodePrivate | None = None
    login_name: str = ""
    prefs: Prefs = Prefs()

    def __repr__(self) -> str:
        return f"State(control_url={self.prefs.control_url!r})"


class _Stored(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    version: int
    machine_key: str
    node_key: str
    login_name: str
    prefs: Prefs


class StateFile:
    """The one file of a state directory. Made where it is missing; every step that meets a link or a stranger's file
    stops with a StateError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = directory / FILE
        self._held: int | None = None
        self._made: list[Path] = []

    def read(self) -> State:
        """The state as it is, or a first one with a fresh machine key; nothing is written or made."""
        return self._read() or State(MachinePrivate(os.urandom(32)))

    def open(self) -> State:
        """Make the directory, keep other daemons out of it, and write a first state where there is none."""
        self._make_directory()
        self._lock()
        state = self._read()
        if state is None:
            state = State(MachinePrivate(os.urandom(32)))
            self.write(state)
            self._made.append(self._path)
        return state

    def undo(self) -> None:
        """Take away what `open` made: the daemon cannot start, and this key was never shown to anybody."""
        for path in reversed(self._made):
            path.rmdir() if path.is_dir() else path.unlink()
        self._made = []

    def close(self) -> None:
        """Let go of the directory."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def write(self, state: State) -> None:
        """Durable when it returns: a crash at any point leaves the old state or the new one."""
        body = msgspec.json.format(msgspec.json.encode(_to_stored(state)), indent=2) + b"\n"
        try:
            durable.replace(self._path, body)
        except OSError as error:
            raise StateError(f"cannot write {self._path}: {error.strerror}; make the directory writable") from None

    def _make_directory(self) -> None:
        try:
            if not self.directory.exists():
                self.directory.mkdir(mode=0o700, parents=True)
                self._made.append(self.directory)
            found = self.directory.lstat()
        except OSError as error:
            raise StateError(
                f"cannot make the state directory {self.directory}: {error.strerror}; name another with --state"
            ) from None
        if not stat.S_ISDIR(found.st_mode):
            raise StateError(f"{self.directory} is not a directory; name another with --state")
        if found.st_uid != os.geteuid():
            raise StateError(f"{self.directory} belongs to uid {found.st_uid}, not to us; name another with --state")
        if found.st_mode & 0o077:
            self.directory.chmod(0o700)
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise StateError(f"{self.directory} is not writable; make it so, or name another with --state")

    def _lock(self) -> None:
        if self._held is not None:
            return
        held = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(held)
            raise StateError(f"another ginneld uses {self.directory}; name another with --state") from None
        self._held = held

    def _read(self) -> State | None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError:
            raise StateError(
                f"not allowed to read {self._path}: use sudo, or name another place with --state"
            ) from None
        except OSError as error:
            raise StateError(f"cannot open {self._path}: {error.strerror}; it must be a plain file of ours") from None
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid != os.geteuid():
                raise StateError(f"{self._path} is not a plain file of ours; move it away")
            if found.st_mode & 0o077:
                raise StateError(f"{self._path} can be read by others; its keys may be known: chmod 600 or remove it")
            return self._parse(file.read(MAX_SIZE + 1))

    def _parse(self, body: bytes) -> State:
        try:
            return _from_stored(msgspec.json.decode(body, type=_Stored))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, BadKey, ValueError):
            raise StateError(
                f"{self._path} is damaged ({len(body)} bytes): put a copy back, or remove it to join as a new machine"
            ) from None


def _to_stored(state: State) -> _Stored:
    node = state.node.secret_text() if state.node is not None else ""
    return _Stored(1, state.machine.secret_text(), node, state.login_name, state.prefs)


def _from_stored(stored: _Stored) -> State:
    if stored.version != 1:
        raise ValueError(f"version {stored.version}")
    stored.prefs.pinned_key()
    node = NodePrivate.parse(stored.node_key) if stored.node_key else None
    return State(MachinePrivate.parse(stored.machine_key), node, stored.login_name, stored.prefs)
