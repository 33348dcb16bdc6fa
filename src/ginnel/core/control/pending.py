"""Interactive logins that wait for an admin's word.

Room: core. Bounded, and anybody can make one: so room is made by the source that has the most, its oldest first, and
a flood pushes out itself. Nothing is kept over a restart: a client whose login is gone gets a new URL when it asks.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ginnel.core.control import limits
from ginnel.words import Instant, MachineKey, NodeKey, WallTime


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """`source`: who is counted together with this client."""

    id: str
    source: str
    machine: MachineKey
    key: NodeKey
    old_key: NodeKey | None
    hostinfo: dict[str, Any]
    tags: tuple[str, ...]
    ephemeral: bool
    expiry: WallTime | None
    capability: int
    ends: Instant


@dataclass(slots=True)
class PendingLogins:
    """`entropy(n)` gives n fresh random bytes."""

    entropy: Callable[[int], bytes]
    _by_id: OrderedDict[str, PendingLogin] = field(default_factory=OrderedDict)
    _by_keys: dict[tuple[MachineKey, NodeKey], str] = field(default_factory=dict)
    _by_source: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, login_id: str) -> PendingLogin | None:
        return self._by_id.get(login_id)

    def all(self) -> list[PendingLogin]:
        return list(self._by_id.values())

    def of(self, machine: MachineKey, key: NodeKey) -> PendingLogin | None:
        login_id = self._by_keys.get((machine, key))
        return self._by_id[login_id] if login_id is not None else None

    def new_id(self) -> str:
        return self.entropy(12).hex()

    def add(self, login: PendingLogin) -> list[str]:
        """Keep it; returns the ids that had to go, whose waiting requests must be answered anew."""
        gone = []
        earlier = self.of(login.machine, login.key)
        if earlier is not None:
            gone.append(self._forget(earlier))
        while len(self._by_id) >= limits.MAX_PENDING_LOGINS:
            gone.append(self._forget(self._least_deserving()))
        self._by_id[login.id] = login
        self._by_keys[login.machine, login.key] = login.id
        self._by_source[login.source] += 1
        return gone

    def _least_deserving(self) -> PendingLogin:
        most = max(self._by_source.values())
        return next(login for login in self._by_id.values() if self._by_source[login.source] == most)

    def finish(self, login_id: str) -> None:
        login = self._by_id.get(login_id)
        if login is not None:
            self._forget(login)

    def tick(self, now: Instant) -> list[str]:
        """Ids whose time is over."""
        over = [login for login in self._by_id.values() if login.ends <= now]
        return [self._forget(login) for login in over]

    def _forget(self, login: PendingLogin) -> str:
        del self._by_id[login.id]
        del self._by_keys[login.machine, login.key]
        self._by_source[login.source] -= 1
        if not self._by_source[login.source]:
            del self._by_source[login.source]
        return login.id
