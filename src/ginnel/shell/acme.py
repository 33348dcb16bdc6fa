"""A relay's certificate from an ACME authority: account, renewal ahead of its end, and what is said when it fails.

Room: shell. The order itself is in `acme_order`, which a thread of this runs.
"""

from __future__ import annotations

import logging
import secrets
import ssl
import threading
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ginnel.core.relay.identity import LeafFacts, as_address
from ginnel.core.relay.renewal import Renewal
from ginnel.native import Relay
from ginnel.shell.relay_files import acme_certificate, acme_file, read_or_create, replace_file
from ginnel.shell.relay_settings import AcmeSettings, RelayError
from ginnel.words import WallTime

log = logging.getLogger("ginnel.relay")
ACCOUNT_KEY = "account.key"
FAILURES = "failures.json"


class _Failures(msgspec.Struct):
    count: int
    at: float


class AcmeKeeper:
    """Asks the authority when the time has come. `tick` says when there is a new certificate on disk."""

    def __init__(self, settings: AcmeSettings, name: str, state: Path, relay: Relay, now: WallTime) -> None:
        """Raises RelayError."""
        if as_address(name) is not None or "." not in name:
            raise RelayError(f"--acme needs a name that the authority can reach, not {name}: give --domain NAME")
        check_authority(settings)
        self._settings, self._name, self._state, self._relay = settings, name.lower().rstrip("."), state, relay
        self._directory = acme_file(state, name).parent
        failures, failed_at = _read_failures(self._directory / FAILURES)
        self._renewal = Renewal(secrets.randbelow(1000) / 1000, failures, min(failed_at, now))
        self._due = self._renewal.due(self._leaf(now))
        self._thread: threading.Thread | None = None
        self._outcome: bytes | RelayError | None = None

    def tick(self, now: WallTime) -> bool:
        """Start what is due, end what is done; True if a new certificate lies on disk. Never raises: what fails is
        said in one line, and tried again later."""
        if self._thread is None:
            if now >= self._due:
                self._start()
            return False
        if self._thread.is_alive():
            return False
        self._thread, outcome = None, self._outcome
        try:
            self._take(outcome)
        except RelayError as error:
            self._renewal.failed(now)
            self._due = self._renewal.due(self._leaf(now))
            minutes = (self._due - now) / 60
            log.warning("no certificate for %s: %s; tried again in %.0f minutes", self._name, error, minutes)
            return False
        else:
            self._renewal.succeeded()
            self._due = self._renewal.due(self._leaf(now))
            return True
        finally:
            self._note_failures()

    def wait(self, seconds: float) -> None:
        """Until the order that is under way has ended."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _take(self, outcome: bytes | RelayError | None) -> None:
        if isinstance(outcome, RelayError):
            raise outcome
        if outcome is None:
            raise RelayError("the order broke off; the reason stands above")
        replace_file(acme_file(self._state, self._name), outcome)

    def _leaf(self, now: WallTime) -> LeafFacts | None:
        kept = acme_certificate(self._state, self._name, now)
        return kept.facts if kept is not None else None

    def _start(self) -> None:
        self._outcome = None
        # A daemon: an authority that does not answer keeps nobody from stopping the relay.
        self._thread = threading.Thread(target=self._ask, name="acme", daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        from ginnel.shell import acme_order  # noqa: PLC0415  (a third of a second)

        try:
            key = read_or_create(self._directory / ACCOUNT_KEY, acme_order.new_key)
            self._outcome = acme_order.obtain(self._settings, self._name, key, self._relay, self._kinds())
        except RelayError as error:
            self._outcome = error

    def _kinds(self) -> tuple[str, ...]:
        return ("tls-alpn-01", "http-01") if self._relay.addresses()["http"] else ("tls-alpn-01",)

    def _note_failures(self) -> None:
        kept = _Failures(self._renewal.failures, self._renewal.failed_at)
        try:
            replace_file(self._directory / FAILURES, msgspec.json.encode(kept))
        except RelayError as error:
            log.warning("%s", error)


def check_authority(settings: AcmeSettings) -> None:
    """What can be known to be wrong before the authority is asked. Raises RelayError."""
    try:
        parts = urlsplit(settings.url)
        right = parts.scheme in ("https", "http") and bool(parts.hostname) and (parts.port or 443) > 0
    except ValueError:
        right = False
    if not right:
        raise RelayError(f"expected the ACME authority's directory as https://host/path, got {settings.url!r}")
    if settings.ca is not None:
        try:
            ssl.create_default_context(cafile=str(settings.ca))
        except (OSError, ssl.SSLError) as error:
            why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise RelayError(
                f"cannot use {settings.ca} to check the ACME authority: {why}; give its certificates in PEM"
            ) from None


def _read_failures(path: Path) -> tuple[int, WallTime]:
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Failures)
    except (OSError, msgspec.MsgspecError):
        return 0, WallTime(0.0)
    return max(kept.count, 0), WallTime(kept.at)
