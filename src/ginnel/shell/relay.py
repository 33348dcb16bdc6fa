"""The relay as a running thing: its key and certificates on disk, the front door in Rust, renewal.

Room: shell. Packets never come here; members, certificates and counters do.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec

from ginnel.core.relay.identity import (
    ENTROPY_SIZE,
    META_RENEWAL,
    BadCertificate,
    LeafFacts,
    Place,
    SelfSigned,
    derp_node,
    derp_region,
    fits,
    is_host,
    meta_certificate,
    read_leaf,
)
from ginnel.native import Relay
from ginnel.shell.descriptors import allowed_descriptors
from ginnel.wire.derp import HEADER_SIZE, PACKET_LIMIT
from ginnel.wire.tailcfg import DERPRegion
from ginnel.words import KEY_SIZE, BadKey, NodeKey, NodePrivate, RegionId, WallTime

KEY_FILE = "derp.key"
CERTIFICATE_FILE = "relay.crt"
CERTIFICATE_KEY_FILE = "relay.key"
DEFAULT_REGION = RegionId(900)
"""Regions 900 to 999 are left to private relays (tailscale: tailcfg/derpmap.go)."""

MAX_CONNECTIONS = 60_000
MAX_FRAME = HEADER_SIZE + KEY_SIZE + PACKET_LIMIT
SPARE_DESCRIPTORS = 128
"""For everything that is no client: files, listeners, the server beside the relay."""

RENEWAL_CHECK = 3600.0
"""Seconds between two looks at the certificates."""


class RelayError(Exception):
    """Why the relay can't run: one line that says what to do."""


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """`state`: directory of its keys. `hostname`: name or IP literal by which nodes reach it. `tls`, `http`, `stun`:
    "ip:port" to listen on. `certificate` and `certificate_key`: files, both or neither; without them a leaf is made
    here and pinned. `splice`: unix socket of the server behind."""

    state: Path
    hostname: str
    tls: Sequence[str] = ("[::]:443",)
    http: Sequence[str] = ("[::]:80",)
    stun: Sequence[str] = ("[::]:3478",)
    certificate: Path | None = None
    certificate_key: Path | None = None
    splice: Path | None = None
    members_only: bool = True
    region: RegionId = DEFAULT_REGION
    region_code: str = "own"
    region_name: str = "Own relay"
    ipv4: str = ""
    ipv6: str = ""
    derp_port: int = 0
    """As seen from outside; 0: the one listened on."""
    receive_rate: int = 0
    """Bytes a second that each client may send; 0: as fast as it can."""
    threads: int = field(default_factory=lambda: min(os.cpu_count() or 1, 8))


@dataclass(frozen=True, slots=True, repr=False)
class _Certificate:
    chain: bytes
    key: bytes

    @property
    def facts(self) -> LeafFacts:
        return read_leaf(self.chain)


class EmbeddedRelay:
    """A relay that serves from `start` to `close`. `tick` keeps its certificates fresh."""

    def __init__(self, settings: RelaySettings, now: WallTime) -> None:
        """Raises RelayError."""
        if not is_host(settings.hostname):
            raise RelayError(
                f"{settings.hostname!r} is no host: give a name of ASCII letters (xn--... for others) or an IP address"
            )
        self._settings = settings
        private = _relay_key(settings.state)
        self.key: NodeKey = private.public()
        self._certificate = _certificate(settings, now)
        self._meta_made = now
        self.native = _start(settings, private, self._certificate, self._meta(now))

    @classmethod
    def start(cls, settings: RelaySettings, now: WallTime) -> Self:
        return cls(settings, now)

    @property
    def leaf(self) -> LeafFacts:
        return self._certificate.facts

    @property
    def region(self) -> DERPRegion:
        """The relay's region for a DERP map."""
        settings, bound = self._settings, self.native.addresses()
        place = Place(
            host=settings.hostname,
            derp_port=settings.derp_port or bound["tls"][0][1],
            stun_port=bound["stun"][0][1] if bound["stun"] else -1,
            port_80=any(port == 80 for _, port in bound["http"]),
            ipv4=settings.ipv4,
            ipv6=settings.ipv6,
        )
        node = derp_node(place, settings.region, self.leaf)
        return derp_region(node, settings.region_code, settings.region_name)

    def set_members(self, keys: Iterable[NodeKey]) -> None:
        """Who may log in when `members_only`; others are disconnected."""
        self.native.set_members([key.raw for key in keys])

    def add_member(self, key: NodeKey) -> None:
        self.native.add_member(key.raw)

    def remove_member(self, key: NodeKey) -> None:
        self.native.remove_member(key.raw)

    def set_bootstrap_dns(self, names: Mapping[str, Sequence[str]]) -> None:
        self.native.set_bootstrap_dns(msgspec.json.encode(names))

    def tick(self, now: WallTime) -> bool:
        """Renew or reload what is due; True if the region's entry changed, so that nodes have to be told.

        Raises RelayError if given files have become unreadable; what is served stays as it was.
        """
        fresh = _certificate(self._settings, now)
        changed = fresh.chain != self._certificate.chain
        if not changed and now < self._meta_made + META_RENEWAL.total_seconds():
            return False
        before = self.region
        try:
            self.native.set_certificate(fresh.chain + self._meta(now), fresh.key)
        except ValueError as error:
            raise RelayError(f"the relay's certificate can't be used: {error}; it goes on with the old one") from None
        self._certificate, self._meta_made = fresh, now
        return self.region != before

    def close(self) -> None:
        self.native.close()

    def _meta(self, now: WallTime) -> bytes:
        return meta_certificate(self.key, secrets.token_bytes(32), now)


def listen_anywhere(port: int) -> str:
    """Both families where the system has IPv6, else IPv4."""
    return f"[::]:{port}" if _has_ipv6() else f"0.0.0.0:{port}"


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def connection_limits(descriptors: int) -> dict[str, float]:
    """Connections that so many descriptors bear, as a spliced one takes two; no place may have more than a quarter.
    Without this, one client could take the last descriptor of everything in this process."""
    connections = max(min(MAX_CONNECTIONS, (descriptors - SPARE_DESCRIPTORS) // 2), 1)
    per_prefix = max(min(4096, connections // 4), 1)
    return {
        "connections": connections,
        "per_prefix": per_prefix,
        "half_open_per_prefix": min(512, per_prefix),
    }


def receive_limits(rate: int) -> dict[str, float]:
    """A second's worth at once, and never less than the longest frame."""
    return {"receive_rate": rate, "receive_burst": max(rate, MAX_FRAME)} if rate else {}


def _start(settings: RelaySettings, private: NodePrivate, certificate: _Certificate, meta: bytes) -> Relay:
    try:
        return Relay(
            private.raw,
            certificate=certificate.chain + meta,
            certificate_key=certificate.key,
            tls=settings.tls,
            http=settings.http,
            stun=settings.stun,
            splice=str(settings.splice) if settings.splice is not None else None,
            members_only=settings.members_only,
            threads=settings.threads,
            limits=connection_limits(allowed_descriptors()) | receive_limits(settings.receive_rate),
        )
    except ValueError as error:
        raise RelayError(str(error)) from None
    except OSError as error:
        raise RelayError(_explain(error)) from None


def _explain(error: OSError) -> str:
    what = (error.strerror or str(error)).split(" (os error")[0]
    match error.errno:
        case errno.EADDRINUSE:
            return f"{what}: stop the program that has it, or choose another port"
        case errno.EACCES | errno.EPERM:
            return f"{what}: run as root, grant CAP_NET_BIND_SERVICE, or choose ports above 1023"
        case errno.EADDRNOTAVAIL:
            return f"{what}: no interface of this machine has that address"
        case errno.EAFNOSUPPORT:
            return f"{what}: this system has no IPv6, listen on 0.0.0.0"
    return what


# --- files -------------------------------------------------------------------------------------------------------


def _relay_key(state: Path) -> NodePrivate:
    path = state / KEY_FILE
    text = read_or_create(path, lambda: NodePrivate(secrets.token_bytes(32)).secret_text().encode() + b"\n")
    try:
        return NodePrivate.parse(text.decode("ascii", "replace").strip())
    except BadKey as error:
        raise RelayError(f"{path} holds no relay key ({error}): restore it, or remove it for a new one") from None


def _certificate(settings: RelaySettings, now: WallTime) -> _Certificate:
    if settings.certificate is None and settings.certificate_key is None:
        return _own_certificate(settings, now)
    if settings.certificate is None or settings.certificate_key is None:
        raise RelayError("a certificate and its key go together: give both files or none")
    given = _Certificate(_read(settings.certificate), _read(settings.certificate_key))
    _check(given, settings.certificate)
    return given


def _own_certificate(settings: RelaySettings, now: WallTime) -> _Certificate:
    """Kept in one file each. A stop between the two writes leaves a certificate without its key: a new one is made."""
    chain, key = settings.state / CERTIFICATE_FILE, settings.state / CERTIFICATE_KEY_FILE
    if chain.exists():
        kept = _Certificate(_read(chain), _read(key))
        facts = _check(kept, chain)
        if settings.hostname in facts.names and not facts.renewal_due(now) and fits(kept.chain, kept.key):
            return kept
    made = SelfSigned.make(settings.hostname, secrets.token_bytes(ENTROPY_SIZE), now)
    replace_file(key, made.key)
    replace_file(chain, made.certificate)
    return _Certificate(made.certificate, made.key)


def _check(certificate: _Certificate, path: Path) -> LeafFacts:
    try:
        return certificate.facts
    except BadCertificate as error:
        raise RelayError(f"{path}: {error}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RelayError(f"cannot read {path}: {error.strerror}; check its path and permissions") from None


def read_or_create(path: Path, make: Callable[[], bytes]) -> bytes:
    _make_directory(path.parent)
    try:
        _create(path, content := make())
    except FileExistsError:
        return _read(path)
    except OSError as error:
        raise RelayError(f"cannot write {path}: {error.strerror}; choose another --state directory") from None
    return content


def replace_file(path: Path, content: bytes) -> None:
    """All or nothing: a reader, or a crash, finds the old file or the new one."""
    _make_directory(path.parent)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _create(fresh, content)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise RelayError(f"cannot write {path}: {error.strerror}; choose another --state directory") from None


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RelayError(f"cannot make {path}: {error.strerror}; choose another --state directory") from None


def _create(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
