"""What the coordination server knows: users, nodes, pre-auth keys, and the rows that change them.

Room: core. Frozen values. A `Row` is applied to the registry's memory and written to the database in the same form,
so that what a restart loads is what was served before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ginnel.core.control.fleet_records import FleetRow
from ginnel.words import DiscoKey, MachineKey, NodeId, NodeKey, UserId, WallTime

TAGGED_USER = UserId(2147455555)
"""The synthetic owner of every tagged node (headscale: hscontrol/types/users.go)."""


@dataclass(frozen=True, slots=True)
class User:
    id: UserId
    name: str
    created: WallTime


@dataclass(frozen=True, slots=True)
class Node:
    """A registered machine: what was acknowledged and must never be lost.

    `user`: TAGGED_USER exactly when `tags` is not empty. `expiry`: None is never.
    `hostname`: as the machine calls itself; `label`: its DNS label, unique; `renamed`: an admin chose it.
    """

    id: NodeId
    machine: MachineKey
    key: NodeKey
    user: UserId
    hostname: str
    label: str
    ipv4: str
    ipv6: str
    created: WallTime
    expiry: WallTime | None = None
    tags: tuple[str, ...] = ()
    ephemeral: bool = False
    renamed: bool = False

    def expired(self, now: WallTime) -> bool:
        return self.expiry is not None and self.expiry <= now

    @property
    def stable_id(self) -> str:
        return str(self.id)


@dataclass(frozen=True, slots=True)
class Status:
    """What a node says of itself from time to time; written behind, lost at worst for a second before a crash."""

    id: NodeId
    hostinfo: dict[str, Any] = field(default_factory=dict)
    endpoints: tuple[str, ...] = ()
    home: int = 0
    disco: DiscoKey | None = None
    cap: int = 0
    last_seen: WallTime | None = None


@dataclass(frozen=True, slots=True)
class PreauthKey:
    """`prefix` is shown in lists; of the key itself only a SHA-256 is kept."""

    id: int
    prefix: str
    digest: bytes = field(repr=False)
    user: UserId
    created: WallTime
    expiry: WallTime | None
    reusable: bool = False
    ephemeral: bool = False
    tags: tuple[str, ...] = ()
    used: WallTime | None = None
    revoked: WallTime | None = None


@dataclass(frozen=True, slots=True)
class KeyBinding:
    """A node key belongs to the machine that first registered it, for ever: also after the node is deleted."""

    key: NodeKey
    machine: MachineKey


@dataclass(frozen=True, slots=True)
class Released:
    """An address pair that a deleted node had, and since when nobody has it."""

    ipv4: str
    ipv6: str
    at: WallTime


@dataclass(frozen=True, slots=True)
class PolicyText:
    """The policy in force, as its author wrote it; versions count up, old ones stay in the database."""

    version: int
    text: str
    at: WallTime


@dataclass(frozen=True, slots=True)
class Spend:
    """A one-shot key is used up. The database refuses it when the key is used, revoked or gone by then."""

    key_id: int
    at: WallTime


@dataclass(frozen=True, slots=True)
class Drop:
    kind: Literal["user", "node"]
    id: int


@dataclass(frozen=True, slots=True)
class Audit:
    """Who did what to what; never with a secret in it."""

    at: WallTime
    actor: str
    verb: str
    subject: str
    detail: str = ""


Row = User | Node | Status | PreauthKey | KeyBinding | Released | PolicyText | Spend | Drop | Audit | FleetRow
