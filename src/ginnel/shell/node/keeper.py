"""The node's state in memory and on disk: what is changed is durable first and then true.

Room: shell.
"""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

import msgspec

from ginnel.core.node.control_url import legs
from ginnel.shell.node.local_http import Refusal
from ginnel.shell.node.state import Prefs, State, StateError, StateFile
from ginnel.words import BadKey, NodePrivate

log = logging.getLogger(__name__)


class Keeper:
    """`unsaved`: what the disk did not take, in one line, or ""."""

    def __init__(self, state: State, file: StateFile) -> None:
        self.state = state
        self.unsaved = ""
        self._file = file

    @property
    def prefs(self) -> Prefs:
        return self.state.prefs

    def set_prefs(self, prefs: Prefs) -> None:
        """What the user asks for. Raises Refusal; then nothing has changed."""
        check(prefs)
        if prefs.control_url != self.prefs.control_url and self.state.node is not None:
            raise Refusal(409, f"this machine is logged in to {self.prefs.control_url}: run `ginnel logout` first")
        self._write(msgspec.structs.replace(self.state, prefs=prefs))

    def never_logged_in(self) -> None:
        """Raises Refusal."""
        prefs = msgspec.structs.replace(self.prefs, want_running=False)
        self._write(State(self.state.machine, None, "", prefs))

    def logged_in(self, key: NodePrivate, login_name: str) -> None:
        self._note(State(self.state.machine, key, login_name, self.prefs))

    def logged_out(self) -> None:
        prefs = msgspec.structs.replace(self.prefs, want_running=False, logged_out=True)
        self._note(State(self.state.machine, None, "", prefs))

    def _write(self, state: State) -> None:
        try:
            self._file.write(state)
        except StateError as error:
            raise Refusal(500, str(error)) from None
        self.state = state

    def _note(self, state: State) -> None:
        """A login's outcome is true even where the disk is full; then it is told under `status`."""
        try:
            self._file.write(state)
            self.unsaved = ""
        except StateError as error:
            log.error("%s", error)
            self.unsaved = f"{error}; this login is lost at the next start"
        self.state = state


def check(prefs: Prefs) -> None:
    """Prefs that cannot be acted on must not reach the disk: the daemon would meet them again at each start.
    Raises Refusal."""
    try:
        if prefs.control_url:
            legs(prefs.control_url)
            plain = urlsplit(prefs.control_url).netloc.isascii() and prefs.control_url.isprintable()
            if not plain or " " in prefs.control_url:
                raise ValueError
        prefs.pinned_key()
    except BadKey:
        raise Refusal(400, "the server's key in the invite cannot be read") from None
    except ValueError:
        raise Refusal(400, f"{prefs.control_url[:200]!r} is no address of a server: expected https://host") from None
