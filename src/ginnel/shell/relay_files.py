"""A relay's files: its key, the certificate made here, and the one that was given or obtained.

Room: shell. Keys are 0600 from their making; a file is replaced whole or not at all.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ginnel.core.relay.identity import ENTROPY_SIZE, BadCertificate, LeafFacts, SelfSigned, fits, read_leaf
from ginnel.shell import durable
from ginnel.shell.relay_settings import RelayError, RelaySettings
from ginnel.words import BadKey, NodePrivate, WallTime

KEY_FILE = "derp.key"
CERTIFICATE_FILE = "relay.crt"
CERTIFICATE_KEY_FILE = "relay.key"
ACME_DIRECTORY = "acme"


@dataclass(frozen=True, slots=True, repr=False)
class Certificate:
    chain: bytes
    key: bytes

    @property
    def facts(self) -> LeafFacts:
        return read_leaf(self.chain)


def relay_key(state: Path) -> NodePrivate:
    path = state / KEY_FILE
    text = read_or_create(path, lambda: NodePrivate(secrets.token_bytes(32)).secret_text().encode() + b"\n")
    try:
        return NodePrivate.parse(text.decode("ascii", "replace").strip())
    except BadKey as error:
        raise RelayError(f"{path} holds no relay key ({error}): restore it, or remove it for a new one") from None


def certificate(settings: RelaySettings, now: WallTime) -> Certificate:
    """What is to be served. Raises RelayError."""
    if settings.acme is not None:
        return acme_certificate(settings.state, settings.hostname, now) or _own_certificate(settings, now)
    if settings.certificate is None and settings.certificate_key is None:
        return _own_certificate(settings, now)
    if settings.certificate is None or settings.certificate_key is None:
        raise RelayError("a certificate and its key go together: give both files or none")
    given = Certificate(_read(settings.certificate), _read(settings.certificate_key))
    _check(given, settings.certificate)
    return given


def acme_file(state: Path, name: str) -> Path:
    """Key and chain in one, so that they change together."""
    return state / ACME_DIRECTORY / f"{name.lower().rstrip('.')}.pem"


def acme_certificate(state: Path, name: str, now: WallTime) -> Certificate | None:
    """What an authority gave, if it is still good for anything."""
    try:
        kept = acme_file(state, name).read_bytes()
        certificate = Certificate(chain=kept, key=kept)
        facts = certificate.facts
    except (OSError, BadCertificate):
        return None
    good = name.lower().rstrip(".") in facts.names and now < facts.expires and fits(kept, kept)
    return certificate if good else None


def _own_certificate(settings: RelaySettings, now: WallTime) -> Certificate:
    """Kept in one file each. A stop between the two writes leaves a certificate without its key: a new one is made."""
    chain, key = settings.state / CERTIFICATE_FILE, settings.state / CERTIFICATE_KEY_FILE
    if chain.exists():
        kept = Certificate(_read(chain), _read(key))
        facts = _check(kept, chain)
        if settings.hostname in facts.names and not facts.renewal_due(now) and fits(kept.chain, kept.key):
            return kept
    made = SelfSigned.make(settings.hostname, secrets.token_bytes(ENTROPY_SIZE), now)
    replace_file(key, made.key)
    replace_file(chain, made.certificate)
    return Certificate(made.certificate, made.key)


def _check(certificate: Certificate, path: Path) -> LeafFacts:
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
        durable.create(path, content := make())
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
        durable.create(fresh, content)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise RelayError(f"cannot write {path}: {error.strerror}; choose another --state directory") from None


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RelayError(f"cannot make {path}: {error.strerror}; choose another --state directory") from None


def watched(settings: RelaySettings) -> Watch:
    """The files that somebody else may replace."""
    return Watch([path for path in (settings.certificate, settings.certificate_key) if path is not None])


@dataclass(slots=True)
class Watch:
    """Whether files have changed. What changes is left alone until it stays as it is from one look to the next: a
    certificate and its key are two files, and are not replaced at one instant."""

    paths: Sequence[Path]
    _taken: object = field(init=False)
    _seen: object = field(init=False)

    def __post_init__(self) -> None:
        self._taken = self._seen = self._stamps()

    def news(self) -> bool:
        """True once for each change."""
        now = self._stamps()
        settled, self._seen = now == self._seen, now
        if not settled or now == self._taken:
            return False
        self._taken = now
        return True

    def _stamps(self) -> tuple[tuple[int, ...] | None, ...]:
        return tuple(map(_stamp, self.paths))


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
