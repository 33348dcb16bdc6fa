"""A peer as others are shown it, and the least that tells somebody how it changed.

Room: core. A `PeerView` is an immutable snapshot, encoded once and shared by every stream that carries it. `changes`
keeps the rule of official clients up to 1.90: when one frame changes both the home region and the endpoints of one
known peer, they apply only the first, so the endpoints go in a second frame right behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from ginnel.wire import tailcfg
from ginnel.wire.tailcfg import PeerChange, encode, stamp
from ginnel.words import DiscoKey, MachineKey, NodeId, NodeKey, UserId, WallTime


@dataclass(frozen=True, slots=True)
class Fixed:
    """What no patch can change (tailscale: tailcfg.PeerChange)."""

    id: NodeId
    stable_id: str
    name: str
    user: UserId
    key: NodeKey
    machine: MachineKey
    addresses: tuple[str, ...]
    tags: tuple[str, ...]
    created: WallTime
    expired: bool
    hostinfo: dict[str, Any] = field(hash=False)


@dataclass(frozen=True)
class PeerView:
    fixed: Fixed
    disco: DiscoKey | None
    home: int
    endpoints: tuple[str, ...]
    cap: int
    online: bool
    last_seen: WallTime | None  # only while offline: clients are confused by it otherwise
    expiry: WallTime | None

    @cached_property
    def entry(self) -> bytes:
        """The peer's `Node` as JSON."""
        fixed = self.fixed
        return encode(
            tailcfg.Node(
                id=fixed.id,
                stable_id=fixed.stable_id,
                name=fixed.name,
                user=fixed.user,
                key=fixed.key,
                addresses=list(fixed.addresses),
                key_expiry=stamp(self.expiry),
                machine=fixed.machine,
                disco_key=self.disco,
                allowed_ips=list(fixed.addresses),
                endpoints=list(self.endpoints) or None,
                home_derp=self.home,
                hostinfo=fixed.hostinfo,
                created=stamp(fixed.created),
                cap=self.cap,
                tags=list(fixed.tags) or None,
                last_seen=stamp(self.last_seen),
                online=self.online,
                machine_authorized=True,
                expired=fixed.expired,
            )
        )


class Changes(NamedTuple):
    """JSON items: a whole entry or a patch for the first frame, a patch for the second; empty where there is none."""

    entry: bytes = b""
    patch: bytes = b""
    second: bytes = b""


UNCHANGED = Changes()


def changes(old: PeerView | None, new: PeerView) -> Changes:
    """What somebody who was given `old` (None: nothing) must be sent to hold `new`."""
    if old is new or old == new:
        return UNCHANGED
    if old is None:
        return Changes(entry=new.entry)
    moved = old.endpoints != new.endpoints
    apart = moved and old.home != new.home
    second = _patch(PeerChange(new.fixed.id, endpoints=list(new.endpoints))) if apart else b""
    if _needs_entry(old, new):
        return Changes(entry=replace(new, endpoints=old.endpoints).entry if apart else new.entry, second=second)
    first = PeerChange(
        node_id=new.fixed.id,
        derp_region=new.home if new.home != old.home else 0,
        cap=new.cap if new.cap != old.cap else 0,
        endpoints=list(new.endpoints) if moved and not apart else None,
        disco_key=new.disco if new.disco != old.disco else None,
        online=new.online if new.online != old.online else None,
        last_seen=stamp(new.last_seen) if new.last_seen != old.last_seen else None,
        key_expiry=stamp(new.expiry) if new.expiry != old.expiry else None,
    )
    return Changes(patch=_patch(first), second=second)


def _needs_entry(old: PeerView, new: PeerView) -> bool:
    """A patch cannot say it: a fixed member, the first disco key, or that something is no more."""
    return (
        old.fixed != new.fixed
        or (old.disco is None) != (new.disco is None)
        or (old.expiry is not None and new.expiry is None)
        or (old.home != 0 and new.home == 0)
        or (old.cap != 0 and new.cap == 0)
    )


def _patch(change: PeerChange) -> bytes:
    return encode(change)
