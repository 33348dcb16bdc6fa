"""What the daemon remembers of its mesh for a start without DNS: where hosts were, and the last DERP map. JSON, 0600.

Room: shell. Nothing here is secret or trusted, so a file that cannot be read is one that is not there.
"""

from __future__ import annotations

import logging
import os
import stat
from contextlib import suppress
from pathlib import Path

import msgspec

from ginnel.core.firewall.checked import literal
from ginnel.shell import durable
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPMap, Message, decode, encode

FILE = "ginneld.hosts"
MAX_SIZE = 4 << 20
log = logging.getLogger(__name__)

Addresses = dict[str, tuple[str, ...]]


class Remembered(Message, frozen=True):
    """Of one server. `hosts`: the server and the log host, the one reached last at the end; `relays`: those that the
    map gives no address for."""

    control_url: str = ""
    hosts: Addresses = msgspec.field(default_factory=dict)
    relays: Addresses = msgspec.field(default_factory=dict)
    derp_map: DERPMap | None = None


class RememberedFile:
    """`directory` None: nothing is kept."""

    def __init__(self, directory: Path | None) -> None:
        self._path = directory / FILE if directory is not None else None

    def read(self, control_url: str) -> Remembered:
        """Of this server; what was remembered of another one is not looked at."""
        with suppress(OSError, WireError):
            found = decode(Remembered, self._body())
            every = [ip for known in (found.hosts, found.relays) for ips in known.values() for ip in ips]
            if found.control_url == control_url and all(map(literal, every)):
                return found
        return Remembered(control_url)

    def _body(self) -> bytes:
        if self._path is None:
            return b""
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                return b""  # not one that we alone write
            return file.read(MAX_SIZE)

    def write(self, remembered: Remembered) -> None:
        """A map that is too large is left out; a disk that takes nothing is no reason to stop."""
        if self._path is None:
            return
        body = encode(remembered)
        if len(body) > MAX_SIZE:
            body = encode(msgspec.structs.replace(remembered, derp_map=None))
        try:
            durable.replace(self._path, body)
        except OSError as error:
            log.warning("cannot write %s: %s; a start without DNS may find no server", self._path, error.strerror)
