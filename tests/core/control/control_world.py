"""A coordination server without a shell: the cores wired as the coordinator wires them, with clocks that are set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from ginnel.core.control.access import Access
from ginnel.core.control.login import BadRequest, Caller, Hold, LoginDesk, Reply
from ginnel.core.control.mapper import Action, End, Mapper, Send, Stream, Surroundings
from ginnel.core.control.pending import PendingLogins
from ginnel.core.control.policy import NO_POLICY, Policy
from ginnel.core.control.presence import Presence
from ginnel.core.control.progress import status_after
from ginnel.core.control.records import Node, Row, Status, User
from ginnel.core.control.registry import Registry
from ginnel.wire.mapstream import MapDecoder
from ginnel.wire.tailcfg import MapRequest, RegisterAuth, RegisterRequest, RegisterResponse
from ginnel.words import DiscoKey, Instant, MachineKey, NodeId, NodeKey, UserId, WallTime

URL = "https://vpn.example.com"


def bytes_of(*words: object) -> bytes:
    return hashlib.sha256(repr(words).encode()).digest()


def machine(name: str) -> MachineKey:
    return MachineKey(bytes_of("machine", name))


def node_key(name: str) -> NodeKey:
    return NodeKey(bytes_of("node", name))


def disco(name: str) -> DiscoKey:
    return DiscoKey(bytes_of("disco", name))


@dataclass
class World:
    now: float = 1000.0
    wall: float = 1_800_000_000.0
    key_lifetime: float | None = None
    tags_allowed: bool = False
    registry: Registry = field(default_factory=Registry)
    presence: Presence = field(default_factory=Presence)
    policy: Policy = NO_POLICY
    rows: list[Row] = field(default_factory=list)
    ended: list[Stream] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._drawn = 0
        self.pending = PendingLogins(self.entropy)
        surroundings = Surroundings("mesh.internal", "vpn.example.com", b'{"Proxied":true}', b'{"Regions":{}}')
        self.mapper = Mapper(self.registry, Access(self.policy), self.presence, surroundings)
        self.desk = LoginDesk(self.registry, self.pending, URL, lambda *_: self.tags_allowed, self.key_lifetime)
        self.screens: dict[Stream, Screen] = {}
        self.alice = self.user("alice")

    def entropy(self, size: int) -> bytes:
        self._drawn += 1
        return bytes_of("entropy", self._drawn)[:size]

    # --- registry --------------------------------------------------------------------------------------------

    def user(self, name: str) -> User:
        user, rows = self.registry.create_user(name, WallTime(self.wall))
        self.commit(rows)
        return user

    def key(self, user: User | None = None, *, lifetime: float | None = 3600.0, **options: Any) -> str:
        owner = user or (None if options.get("tags") else self.alice)
        expiry = None if lifetime is None else WallTime(self.wall + lifetime)
        text, _, rows = self.registry.create_key(owner, self.entropy(32), WallTime(self.wall), expiry=expiry, **options)
        self.commit(rows)
        return text

    def commit(self, rows: list[Row] | tuple[Row, ...]) -> None:
        self.rows += rows
        effects = self.registry.apply(rows)
        now, wall = Instant(self.now), WallTime(self.wall)
        actions: list[Action] = []
        for node_id in effects.removed:
            actions += self.mapper.removed(node_id, now)
            self.presence.forget(node_id)
        for node_id in effects.rekeyed:
            actions += self.mapper.ended(node_id)
        for node_id in effects.changed:
            self.mapper.changed(node_id, now, wall)
        for user_id in effects.users:
            self.mapper.user_renamed(user_id, now, wall)
        self.perform(actions)

    # --- logins ----------------------------------------------------------------------------------------------

    def ask(
        self,
        name: str,
        key: str | None = None,
        *,
        on: str | None = None,
        source: str = "192.0.2.1",
        version: int = 130,
        **members: Any,
    ) -> Reply | Hold | BadRequest:
        """`name`: names the node key, and the machine unless `on` does."""
        members.setdefault("hostinfo", {"Hostname": name, "OS": "linux"})
        request = RegisterRequest(
            version=version, node_key=node_key(name), auth=RegisterAuth(key) if key is not None else None, **members
        )
        return self.desk.decide(request, Caller(machine(on or name), source), Instant(self.now), WallTime(self.wall))

    def answer(self, *arguments: Any, **members: Any) -> RegisterResponse:
        """Ask, and commit what was decided."""
        outcome = self.ask(*arguments, **members)
        assert isinstance(outcome, Reply), outcome
        self.commit(outcome.rows)
        for login_id in outcome.settled:
            self.pending.finish(login_id)
        return outcome.response

    def join(self, name: str, user: User | None = None, **options: Any) -> Node:
        response = self.answer(name, self.key(user, **options))
        assert not response.error, response.error
        node = self.registry.node_of(node_key(name), machine(name))
        assert node is not None
        return node

    def node(self, name: str, on: str | None = None) -> Node:
        node = self.registry.node_of(node_key(name), machine(on or name))
        assert node is not None
        return node

    # --- maps ------------------------------------------------------------------------------------------------

    def open(self, node: Node, compress: str = "") -> Screen:
        stream, actions = self.mapper.open(
            node.id, compress=compress, spread=0.0, now=Instant(self.now), wall=WallTime(self.wall)
        )
        screen = self.screens[stream] = Screen(stream)
        self.perform(actions)
        return screen

    def close(self, screen: Screen) -> None:
        self.mapper.close(screen.stream, Instant(self.now))

    def update(self, node: Node, **members: Any) -> None:
        old = self.registry.status.get(node.id, Status(node.id))
        new = status_after(old, MapRequest(version=130, **members))
        if new is not old:
            self.commit([new])

    def perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(stream, data):
                    self.screens[stream].take(data)
                case End(stream):
                    self.ended.append(stream)

    def settle(self) -> None:
        """Let the time come at which every change has been told."""
        while (due := self.mapper.next_timeout()) is not None:
            self.now = max(self.now, due)
            self.perform(self.mapper.tick(Instant(self.now)))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds

    def scratch(self, node_id: NodeId) -> dict[str, Any]:
        """The map of a node, worked out from nothing."""
        fresh = Mapper(self.registry, self.mapper.access, self.presence, self.mapper.surroundings)
        return msgspec.json.decode(fresh.snapshot(node_id, WallTime(self.wall)))  # type: ignore[no-any-return]


@dataclass(eq=False)
class Screen:
    """A client: what it was sent, and the map it makes of it, merged as plainly as can be."""

    stream: Stream
    frames: list[dict[str, Any]] = field(default_factory=list)
    node: dict[str, Any] = field(default_factory=dict)
    peers: dict[int, dict[str, Any]] = field(default_factory=dict)
    filters: dict[str, Any] = field(default_factory=dict)
    profiles: dict[int, dict[str, Any]] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._decoder = MapDecoder(self.stream.compress)

    def take(self, data: bytes) -> None:
        for message in self._decoder.feed(data):
            frame = msgspec.json.decode(message)
            if not frame.get("KeepAlive"):
                self.merge(frame)
            self.frames.append(frame)

    def merge(self, frame: dict[str, Any]) -> None:
        self.node = frame.get("Node", self.node)
        if frame.get("Peers"):
            self.peers = {peer["ID"]: peer for peer in frame["Peers"]}
        for gone in frame.get("PeersRemoved", ()):
            assert self.peers.pop(gone, None) is not None, f"peer {gone} was removed and never given"
        changed = frame.get("PeersChanged", [])
        assert [peer["ID"] for peer in changed] == sorted(peer["ID"] for peer in changed)
        for peer in changed:
            self._refuse_two_at_once(self.peers.get(peer["ID"]), peer)
            self.peers[peer["ID"]] = peer
        for patch in frame.get("PeersChangedPatch", ()):
            self._patch(patch)
        self.filters.update(frame.get("PacketFilters", {}))
        self.profiles.update({profile["ID"]: profile for profile in frame.get("UserProfiles", ())})
        for peer in self.peers.values():
            assert peer["User"] in self.profiles, "a peer came before its owner's profile"
        shown = {peer["User"] for peer in (*self.peers.values(), self.node)}
        for profile in frame.get("UserProfiles", ()):
            assert profile["ID"] in shown, "the profile of somebody who owns nothing that is seen"
        for name in ("DNSConfig", "DERPMap", "Domain"):
            if name in frame:
                self.others[name] = frame[name]

    def _refuse_two_at_once(self, old: dict[str, Any] | None, new: dict[str, Any]) -> None:
        if old is not None:
            moved = old.get("Endpoints") != new.get("Endpoints")
            assert not (moved and old.get("HomeDERP") != new.get("HomeDERP")), "home and endpoints in one entry"

    def _patch(self, patch: dict[str, Any]) -> None:
        assert patch["NodeID"] in self.peers, f"a patch for peer {patch['NodeID']}, who was never given"
        assert not ("DERPRegion" in patch and "Endpoints" in patch), "home and endpoints in one patch"
        assert len(patch) > 1, "a patch that says nothing"
        peer = self.peers[patch["NodeID"]] = dict(self.peers[patch["NodeID"]])
        names = {"DERPRegion": "HomeDERP"}
        for name, value in patch.items():
            if name != "NodeID":
                peer[names.get(name, name)] = value

    def names(self) -> list[str]:
        return sorted(peer["Name"].split(".")[0] for peer in self.peers.values())

    def state(self) -> dict[str, Any]:
        return normal(self.node, self.peers, self.filters, self.others)


def state_of(whole: dict[str, Any]) -> dict[str, Any]:
    peers = {peer["ID"]: peer for peer in whole.get("Peers", ())}
    others = {name: whole[name] for name in ("DNSConfig", "DERPMap", "Domain")}
    return normal(whole["Node"], peers, whole["PacketFilters"], others)


def normal(
    node: dict[str, Any], peers: dict[int, dict[str, Any]], filters: dict[str, Any], others: dict[str, Any]
) -> dict[str, Any]:
    """What must be equal. The own node's volatile members are left out: they are not worth a rebuild at the client."""
    volatile = {"Hostinfo", "DiscoKey", "HomeDERP", "Cap"}
    own = {name: value for name, value in node.items() if name not in volatile}
    return {"node": own, "peers": {k: _peer(v) for k, v in peers.items()}, "filters": filters, **others}


def _peer(peer: dict[str, Any]) -> dict[str, Any]:
    """Nothing and absent are the same; LastSeen means something only while offline."""
    known = {name: value for name, value in peer.items() if value not in ([], None, 0, "")}
    if known.get("Online"):
        known.pop("LastSeen", None)
    return known


def at(wall: float) -> datetime:
    return datetime.fromtimestamp(wall, UTC)


LOGOUT = at(123)
__all__ = ["LOGOUT", "Screen", "UserId", "World", "at", "disco", "machine", "node_key", "state_of"]
