"""Getting this node's key accepted by the coordination server, and given up again.

Room: core. No sockets, clocks, files or logs come in; new keys are drawn by a constructor argument.

    start ----> Asking --- accepted ---------------------------> Accepted
                  |  ^ \\-- error text -------------------------> Refused   (stays so until the user acts)
                  |  |  \\- NodeKeyExpired: new key, OldNodeKey -> Asking    (once)
                  |  |   \\ AuthURL: show it, ask with Followup -> Asking    (waits for the visit)
       no answer  v  |
                Waiting      doubling, <= 30 s

Source: tailscale: control/controlclient/direct.go (doLogin), tailcfg/tailcfg.go (RegisterRequest).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from ginnel.core.node.backoff import Backoff
from ginnel.wire.tailcfg import RegisterAuth, RegisterRequest, RegisterResponse
from ginnel.words import Instant, NodeKey, NodePrivate

CAPABILITY_VERSION = 115
"""What this node announces, in the Noise header, its prologue and every body. Above: messages it does not read
(117 DisplayMessages), roles it does not play (120 peer relay)."""

LOG_OUT = datetime.fromtimestamp(123, UTC)
"""The expiry that means "log me out" (tailscale: control/controlclient/direct.go)."""


# --- actions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendRegister:
    """Ask `POST /machine/register`, and tell the outcome: `answered` or `unanswered`. It may take hours."""

    request: RegisterRequest


@dataclass(frozen=True, slots=True)
class Visit:
    """The user must open this address to approve the machine."""

    url: str


@dataclass(frozen=True, slots=True)
class KeepKey:
    """The server accepted the key: store it, and let go of the one before. None: logged out, forget it."""

    key: NodePrivate | None
    login_name: str = ""


LoginAction = SendRegister | Visit | KeepKey

# --- states ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing was asked for, or the login is over and the key is gone."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one login carries through all its requests. Its repr leaves the auth key out."""

    key: NodePrivate
    old: NodeKey | None = None
    auth_key: str = field(default="", repr=False)
    followup: str = ""
    rotated: bool = False
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Asking:
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Waiting:
    """The request failed on its way; it is repeated then."""

    attempt: Attempt
    until: Instant
    why: str


@dataclass(frozen=True, slots=True)
class Accepted:
    key: NodePrivate


@dataclass(frozen=True, slots=True)
class Refused:
    """The server said no, in these words. Asking again by itself would be knocking at a closed door."""

    why: str


LoginState = Idle | Asking | Waiting | Accepted | Refused


class Login:
    """`stored`: the key of an earlier login. `draw`: 32 random bytes. `plain`: the server's own URL is http."""

    def __init__(
        self,
        stored: NodePrivate | None,
        *,
        hostinfo: dict[str, Any],
        draw: Callable[[], bytes],
        jitter: Callable[[], float],
        plain: bool = False,
        ephemeral: bool = False,
    ) -> None:
        self.state: LoginState = Idle()
        self.stored = stored
        self.hostinfo = hostinfo
        self._draw = draw
        self._plain = plain
        self._ephemeral = ephemeral
        self._backoff = Backoff(jitter)

    @property
    def visit(self) -> str:
        """The address that waits for a visit, or ""."""
        attempt = getattr(self.state, "attempt", None)
        return attempt.followup if attempt is not None else ""

    @property
    def problem(self) -> str:
        return self.state.why if isinstance(self.state, Waiting | Refused) else ""

    # --- inputs ------------------------------------------------------------------------------------------------

    def start(self, *, auth_key: str = "", fresh: bool = False) -> list[LoginAction]:
        """Log in with the stored key, or a new one. `fresh`: a new key even so (`up --force-reauth`)."""
        self._backoff.succeeded()
        if self.stored is None:
            return self._ask(Attempt(self._new_key(), auth_key=auth_key))
        if fresh:
            return self._ask(self._rotation(self.stored, auth_key))
        return self._ask(Attempt(self.stored, auth_key=auth_key))

    def logout(self) -> list[LoginAction]:
        """Expire the key at the server. Without one there is nothing to say."""
        if self.stored is None:
            self.state = Idle()
            return [KeepKey(None)]
        return self._ask(Attempt(self.stored, leaving=True))

    def answered(self, response: RegisterResponse, now: Instant) -> list[LoginAction]:
        """The server's answer to the last SendRegister. Late answers to an abandoned attempt are ignored."""
        if not isinstance(self.state, Asking):
            return []
        attempt = self.state.attempt
        if response.error:
            self.state = Refused(response.error)
            return []
        if attempt.leaving:
            return self._left()
        if response.node_key_expired:
            return self._expired(attempt, now)
        if response.auth_url:
            return self._to_visit(attempt, response.auth_url, now)
        return self._accepted(attempt, response)

    def unanswered(self, why: str, now: Instant) -> list[LoginAction]:
        """The request did not arrive, or its answer was no answer: wait, then repeat it with the same Followup."""
        if isinstance(self.state, Asking):
            self.state = Waiting(self.state.attempt, Instant(now + self._backoff.failed()), why)
        return []

    def refuse(self, why: str) -> list[LoginAction]:
        """A check of ours failed, for example the server's key is not the invite's."""
        self.state = Refused(why)
        return []

    def tick(self, now: Instant) -> list[LoginAction]:
        if isinstance(self.state, Waiting) and now >= self.state.until:
            return self._ask(self.state.attempt)
        return []

    def next_timeout(self) -> Instant | None:
        return self.state.until if isinstance(self.state, Waiting) else None

    # --- transitions -------------------------------------------------------------------------------------------

    def _ask(self, attempt: Attempt) -> list[LoginAction]:
        self.state = Asking(attempt)
        return [SendRegister(self._request(attempt))]

    def _request(self, attempt: Attempt) -> RegisterRequest:
        return RegisterRequest(
            version=CAPABILITY_VERSION,
            node_key=attempt.key.public(),
            old_node_key=attempt.old,
            auth=RegisterAuth(attempt.auth_key) if attempt.auth_key else None,
            expiry=LOG_OUT if attempt.leaving else None,
            followup=attempt.followup,
            hostinfo=self.hostinfo,
            ephemeral=self._ephemeral and not attempt.leaving,
        )

    def _expired(self, attempt: Attempt, now: Instant) -> list[LoginAction]:
        if attempt.rotated:
            return self.unanswered("the server calls a key expired that it has just been offered", now)
        return self._ask(self._rotation(attempt.key, attempt.auth_key))

    def _rotation(self, old: NodePrivate, auth_key: str) -> Attempt:
        return Attempt(self._new_key(), old=old.public(), auth_key=auth_key, rotated=True)

    def _to_visit(self, attempt: Attempt, url: str, now: Instant) -> list[LoginAction]:
        if not may_open(url, plain=self._plain):
            self.state = Refused("the server sent a login address that is not https; it is not shown")
            return []
        if url == attempt.followup:  # an early answer with the same address would make a tight loop
            return self.unanswered("the server asks for the same visit again", now)
        return [Visit(url), *self._ask(replace(attempt, followup=url))]

    def _accepted(self, attempt: Attempt, response: RegisterResponse) -> list[LoginAction]:
        self._backoff.succeeded()
        self.stored = attempt.key
        self.state = Accepted(attempt.key)
        return [KeepKey(attempt.key, response.login.login_name)]

    def _left(self) -> list[LoginAction]:
        self.stored = None
        self.state = Idle()
        return [KeepKey(None)]

    def _new_key(self) -> NodePrivate:
        return NodePrivate(self._draw())


def may_open(url: str, *, plain: bool) -> bool:
    """Whether an address from the server may be shown or asked: https, or http where the server itself is http."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    printable = url.isascii() and url.isprintable() and " " not in url
    return printable and bool(parts.hostname) and parts.scheme in (("https", "http") if plain else ("https",))
