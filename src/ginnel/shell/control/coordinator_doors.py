"""What the coordinator needs of others: its settings, who must know its members, where a stream's bytes go.

Room: shell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ginnel.core.control.mapper import Surroundings
from ginnel.words import NodeKey


class Members(Protocol):
    """Who must know which node keys are registered: the relay."""

    def add_member(self, key: NodeKey) -> None: ...
    def remove_member(self, key: NodeKey) -> None: ...


class Sink(Protocol):
    """Where a map stream's bytes go. Neither call waits or raises."""

    def write(self, data: bytes) -> None: ...
    def finish(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Settings:
    url: str
    surroundings: Surroundings
    key_lifetime: float | None = None
