"""The way to one coordination server: its Noise key first, by TLS or the invite, then the channel.

Room: shell.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from ginnel.core.node.control_url import legs
from ginnel.core.node.login import CAPABILITY_VERSION
from ginnel.shell.node.control_connection import ControlConnection, ControlError
from ginnel.shell.node.control_dial import open_connection
from ginnel.shell.node.dial import DialError, unverified
from ginnel.shell.node.host_finder import HostFinder
from ginnel.shell.node.web import WebError, fetch
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import ServerKeys, decode
from ginnel.words import MachineKey, MachinePrivate

KEY_TIME = 10.0


class WrongServer(Exception):
    """The server's key is not the invite's. One line for people."""


class ServerDoor:
    """`pinned`: the key of the invite; None: whatever `/key` says."""

    def __init__(
        self, url: str, machine: MachinePrivate, pinned: MachineKey | None, *, mark: int, finder: HostFinder
    ) -> None:
        self._url = url
        self._machine = machine
        self._pinned = pinned
        self._mark = mark
        self._finder = finder
        self._key: MachineKey | None = None

    async def open(self) -> ControlConnection:
        """Raises ControlError, WrongServer."""
        host = urlsplit(self._url).hostname or ""
        try:
            return await self._finder.reach(host, self._dial, (ControlError, WrongServer), ask_relays=self._is_proven)
        except DialError as error:
            raise ControlError(str(error)) from None

    @property
    def _is_proven(self) -> bool:
        """Whether it would be noticed that another one answers: neither TLS nor a known key speak for http://."""
        return self._pinned is not None or self._key is not None or self._url.startswith("https:")

    async def _dial(self, addresses: Sequence[str]) -> ControlConnection:
        key = self._key or await self._fetch_key(addresses)
        try:
            opened = await open_connection(self._url, self._machine, key, mark=self._mark, addresses=addresses)
        except ControlError:
            self._key = None  # the server may have been set up anew: the next attempt asks for its key
            raise
        self._key = key
        return opened

    async def _fetch_key(self, addresses: Sequence[str]) -> MachineKey:
        """The server's Noise key: over verified TLS, or whatever says the same as the invite."""
        url, port = f"{self._url}/key?v={CAPABILITY_VERSION}", legs(self._url)[0].port
        dialled = [(ip, port) for ip in addresses]
        try:
            async with asyncio.timeout(KEY_TIME):
                page = await fetch("GET", url, mark=self._mark, tls=self.trust(), addresses=dialled)
            if page.status != 200:
                raise ControlError(f"{self._url} is no coordination server: /key answers HTTP {page.status}")
            key = decode(ServerKeys, page.body).public_key
        except TimeoutError:
            raise ControlError(f"{self._url} does not answer") from None
        except WebError as error:
            raise ControlError(str(error)) from error
        except WireError:
            raise ControlError(f"{self._url} is no coordination server: its /key is not understood") from None
        if self._pinned is not None and key != self._pinned:
            raise WrongServer(
                f"{self._url} holds another key than the invite names: it is another server, or somebody stands between"
            )
        return key

    def trust(self) -> ssl.SSLContext | None:
        """With the invite's key in hand TLS need not be trusted; without it, the system's roots decide."""
        return unverified() if self._pinned is not None else None
