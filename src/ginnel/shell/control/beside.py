"""The relay that a server starts beside itself, as the server sees it, and why a server cannot start.

Room: shell. It knows of no Rust: relayside.py does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from ginnel.shell.control.config import ServerConfig
from ginnel.wire.relaycontrol import RelayOrder
from ginnel.wire.tailcfg import DERPRegion
from ginnel.words import NodeKey


class StartError(Exception):
    """The server cannot start; one line that says what to do."""


class RelayBeside(Protocol):
    """A relay that was started for this server. It hears of node keys and stands in the DERP map; `pin` is SHA-256 of
    its certificate when no public authority vouches for it. `tick`: now and then; True when `region` is another; `look`
    at the files even if they seem the same. `numbers`: serve its numbers there while the block lasts.
    `retire`: end without losing who has just come."""

    @property
    def region(self) -> DERPRegion: ...
    @property
    def pin(self) -> bytes | None: ...
    @property
    def key(self) -> NodeKey: ...
    def send(self, order: RelayOrder) -> None: ...
    def clients(self) -> int: ...
    def mesh_links(self) -> int: ...
    def counters(self) -> dict[str, int]: ...
    def add_member(self, key: NodeKey) -> None: ...
    def remove_member(self, key: NodeKey) -> None: ...
    def set_bootstrap_dns(self, published: str, unpublished: Mapping[str, str]) -> None: ...
    def tick(self, *, look: bool = False) -> bool: ...
    def numbers(
        self, host: str, port: int, besides: Sequence[Callable[[], bytes]]
    ) -> AbstractAsyncContextManager[int]: ...
    async def retire(self) -> None: ...


StartRelay = Callable[[ServerConfig, Path, Path], RelayBeside]
"""(settings, state directory, splice socket) -> the relay. Raises StartError."""
