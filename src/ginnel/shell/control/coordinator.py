"""The coordination server's heart in asyncio: requests in, commits in order, frames out when they are due.

Room: shell. The rules are in `ginnel.core.control`; here is what they need from the world: the clocks, entropy, the
database thread, and the streams to write to. What changes records takes turns: decided, committed, applied, and only
then answered.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from ginnel.core.control import limits
from ginnel.core.control.access import Access, policy_node
from ginnel.core.control.frames import Frames
from ginnel.core.control.login import LoginDesk
from ginnel.core.control.mapper import Action, End, Mapper, Send, Stream, Surroundings
from ginnel.core.control.pending import PendingLogins
from ginnel.core.control.policy import (
    DENY_ALL,
    NO_POLICY,
    Policy,
    PolicyError,
    TagRefused,
    check_tags,
    parse_policy,
    run_tests,
)
from ginnel.core.control.presence import Presence
from ginnel.core.control.progress import status_after
from ginnel.core.control.records import Audit, Node, PolicyText, Row, Status, User
from ginnel.core.control.registry import Effects, Refused, Registry
from ginnel.shell.control.coordinator_doors import Members, Settings, Sink
from ginnel.shell.control.logins import Failure, Logins
from ginnel.shell.control.pair_desk import PairDesk
from ginnel.shell.control.store import Store, StoreUnavailable
from ginnel.shell.control.turns import Turns
from ginnel.wire.mapstream import ZSTD
from ginnel.wire.tailcfg import MapRequest
from ginnel.words import Instant, MachineKey, NodeId, NodeKey, WallTime

if TYPE_CHECKING:
    from ginnel.shell.control.relay_requests import RelayDoor

log = logging.getLogger("ginnel.control")
T = TypeVar("T")
TICK = 1.0
COMPRESSIONS = ("", ZSTD)


class Coordinator:
    """One tailnet. Make it, `load` it, then keep `run` going; everything else may be called from the loop's thread."""

    def __init__(self, settings: Settings, store: Store, members: Members | None = None) -> None:
        self.settings = settings
        self.store = store
        self.registry = Registry()
        self.presence = Presence()
        self.policy: Policy = NO_POLICY
        self.pending = PendingLogins(secrets.token_bytes)
        self.mapper = Mapper(self.registry, Access(NO_POLICY), self.presence, settings.surroundings)
        self.desk = LoginDesk(self.registry, self.pending, settings.url, self._may_tag, settings.key_lifetime)
        self._members = members
        self.relays: RelayDoor | None = None
        self.turns = Turns()
        self.logins = Logins(self.desk, self.turns, self._commit, lambda: (self.now(), self.wall()))
        self.pairs = PairDesk(self.registry, self.mapper, self.send_to, self.now)
        self._sinks: dict[Stream, Sink] = {}
        self._unwritten: set[NodeId] = set()
        self._restated: set[NodeId] = set()  # who said something since their host names were looked at
        self._expiring: dict[NodeId, bool] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.counters: dict[str, int] = {}
        self.heard: Callable[[Node, MapRequest], None] = lambda _node, _request: None

    # --- start -----------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Everything the database holds. A stored policy that cannot be read denies all until it is set anew. Raises
        StoreUnavailable."""
        loaded = self.store.load()
        self.registry.apply(loaded.rows)
        self.registry.resume_ids(**{name: loaded.numbers.get(name, 0) for name in ("user", "node", "key")})
        self.registry.fleet.resume_ids(relay=loaded.numbers.get("relay", 0), token=loaded.numbers.get("relay token", 0))
        self.registry.withheld = loaded.withheld
        self.registry.renumber()
        now, wall = self.now(), self.wall()
        if self.registry.policy is not None:
            self._use_policy(self._read_stored(self.registry.policy), now)
        for node in self.registry.nodes.values():
            self.mapper.changed(node.id, now, wall)
            self.presence.awaited(node.id, now)
            self._expiring[node.id] = node.expired(wall)
            if self._members is not None and not node.expired(wall):
                self._members.add_member(node.key)

    def _read_stored(self, stored: PolicyText) -> Policy:
        try:
            return parse_policy(stored.text)
        except PolicyError as error:
            log.error("the stored policy cannot be read, so nobody may talk until it is set anew: %s", error)
            return DENY_ALL

    async def run(self) -> None:
        """Timers: rounds of frames, keep-alives, presence, expiry, and the status rows. Ends when cancelled."""
        self._schedule()
        try:
            while True:
                await asyncio.sleep(TICK)
                try:
                    await self._tick()
                except Exception:  # whatever it was about, the next second is about everybody
                    log.exception("a second's work failed")
        finally:
            await asyncio.shield(self._finish_all())

    async def _finish_all(self) -> None:
        """What was decided is committed before the database closes, and who is here now was last seen now."""
        wall = self.wall()
        for node_id in self.presence.online & self.registry.nodes.keys():
            self._seen_last(node_id, wall)
        with suppress(StoreUnavailable):
            await self.turns.take(self._write_behind())
        await self.turns.drain()

    def now(self) -> Instant:
        return Instant(time.monotonic())

    def wall(self) -> WallTime:
        return WallTime(time.time())

    def count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1

    # --- changes ---------------------------------------------------------------------------------------------

    def _may_tag(self, user: User, tag: str) -> bool:
        try:
            check_tags(self.policy, [tag], user.name)
        except TagRefused:
            return False
        return True

    async def change(self, decide: Callable[[WallTime], tuple[T, Sequence[Row]]]) -> T:
        """Run one decision of the registry: nothing else changes between it and its commit. Raises what it raises,
        and StoreUnavailable."""
        return await self.turns.take(self._change(decide))

    async def _change(self, decide: Callable[[WallTime], tuple[T, Sequence[Row]]]) -> T:
        result, rows = decide(self.wall())
        await self._commit(rows)
        return result

    async def _commit(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        try:
            await self.store.commit(rows)
        except StoreUnavailable:
            self.registry.renumber()
            raise
        self._applied(self.registry.apply(rows))

    def _applied(self, effects: Effects) -> None:
        now, wall = self.now(), self.wall()
        actions: list[Action] = []
        for node_id in effects.removed:
            actions += self.mapper.removed(node_id, now)
            self.presence.forget(node_id)
            self._expiring.pop(node_id, None)
        for node_id in effects.rekeyed:
            actions += self.mapper.ended(node_id)
        for node_id in effects.changed:
            self._expiring[node_id] = self.registry.nodes[node_id].expired(wall)
            self.presence.awaited(node_id, now)
            self.mapper.changed(node_id, now, wall)
        for user_id in effects.users:
            self.mapper.user_renamed(user_id, now, wall)
        self._tell_members(effects, wall)
        self._perform(actions)
        self._schedule()

    def _tell_members(self, effects: Effects, wall: WallTime) -> None:
        if self._members is None:
            return
        for key in effects.keys_dropped:
            self._members.remove_member(key)
        for node_id in effects.changed:
            node = self.registry.nodes[node_id]
            tell = self._members.remove_member if node.expired(wall) else self._members.add_member
            tell(node.key)

    # --- maps ------------------------------------------------------------------------------------------------

    def node_for_map(self, request: MapRequest, machine: MachineKey) -> Node | Failure:
        """The caller's node. One answer for a key that is unknown and one that is another machine's (C04)."""
        if request.version < limits.MIN_CAPABILITY:
            return Failure(400, f"unsupported client version: {request.version}, need {limits.MIN_CAPABILITY} or newer")
        node = self.registry.node_of(request.node_key, machine) if request.node_key else None
        if request.compress not in COMPRESSIONS:
            return Failure(400, "Compress is zstd or absent")
        if node is None:
            self.count("map.unknown_node")
            return Failure(404, "node not found")
        return node

    def update(self, node: Node, request: MapRequest) -> None:
        """What the node says of itself: told to its peers at once, written to the database soon."""
        self.heard(node, request)
        old = self.registry.status.get(node.id, Status(node.id))
        new = status_after(old, request)
        if new is old:
            return
        self.registry.apply([new])
        self._unwritten.add(node.id)
        self._restated.add(node.id)
        self.mapper.changed(node.id, self.now(), self.wall())
        self._schedule()

    def open_stream(self, node: Node, *, compress: str, sink: Sink) -> Stream:
        """The first frame is written to the sink before this returns."""
        stream, actions = self.mapper.open(
            node.id,
            compress=compress,
            spread=random.random(),  # noqa: S311
            now=self.now(),
            wall=self.wall(),
        )
        self._sinks[stream] = sink
        self._perform(actions)
        self._schedule()
        return stream

    def close_stream(self, stream: Stream) -> None:
        """The client left, or its connection did."""
        self._sinks.pop(stream, None)
        self.mapper.close(stream, self.now())

    def snapshot(self, node: Node, compress: str) -> bytes:
        """One whole map, framed, for who asks once."""
        return Frames([self.mapper.snapshot(node.id, self.wall())]).bytes_for(compress)

    def send_to(self, node_id: NodeId, message: bytes) -> bool:
        """One more object for the node's map stream, JSON that is encoded; False: it has none."""
        stream = self.mapper.streams.get(node_id)
        if stream is None:
            return False
        self._perform([Send(stream, Frames([message]).bytes_for(stream.compress))])
        return True

    def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Send(stream, data):
                    sink = self._sinks.get(stream)
                    if sink is not None:
                        sink.write(data)
                case End(stream):
                    sink = self._sinks.pop(stream, None)
                    if sink is not None:
                        sink.finish()
                        self.mapper.close(stream, self.now())

    def _schedule(self) -> None:
        due = self.mapper.next_timeout()
        if due is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self.now()), self._round)

    def _round(self) -> None:
        self._timer = None
        self._perform(self.mapper.tick(self.now()))
        self._schedule()

    # --- once a second ---------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        now, wall = self.now(), self.wall()
        self.logins.wake(self.pending.tick(now))
        self._perform(self.mapper.keep_alives(now))
        for node_id in self.presence.went_offline(now):
            if node_id in self.registry.nodes:
                self._left(node_id, now, wall)
        self._check_expiry(now, wall)
        try:
            await self._delete_ephemeral(now)
            await self._follow_hostnames()
            await self.turns.take(self._write_behind())
        except StoreUnavailable as error:
            log.error("the database takes no rows, maps go on: %s", error)
        self._schedule()

    def _left(self, node_id: NodeId, now: Instant, wall: WallTime) -> None:
        self._seen_last(node_id, wall)
        self.mapper.changed(node_id, now, wall)

    def _seen_last(self, node_id: NodeId, wall: WallTime) -> None:
        status = self.registry.status.get(node_id, Status(node_id))
        self.registry.apply([replace(status, last_seen=wall)])
        self._unwritten.add(node_id)

    def _check_expiry(self, now: Instant, wall: WallTime) -> None:
        """Keys that ran out since the last look, or came back when a clock was set right."""
        for node_id, was_expired in list(self._expiring.items()):
            node = self.registry.nodes[node_id]
            if node.expired(wall) != was_expired:
                self._expiring[node_id] = not was_expired
                self.mapper.changed(node_id, now, wall)
                self._tell_members(Effects(changed=frozenset([node_id])), wall)

    async def _delete_ephemeral(self, now: Instant) -> None:
        for node_id in self.presence.gone_for(limits.EPHEMERAL_GRACE, now):
            node = self.registry.nodes.get(node_id)
            if node is None:
                self.presence.forget(node_id)
            elif node.ephemeral:
                await self.change(lambda wall, node=node: (None, self._bury(node, wall)))  # type: ignore[misc]

    def _bury(self, node: Node, wall: WallTime) -> list[Row]:
        if self.registry.nodes.get(node.id) is None or node.id in self.presence.online:
            return []
        audit = Audit(wall, "server", "delete", f"node {node.id}", "ephemeral, gone too long")
        return [*self.registry.delete_node(node, wall), audit]

    async def _follow_hostnames(self) -> None:
        """Once a second for all: a machine that calls itself otherwise all the time costs no more than that."""
        ids, self._restated = self._restated, set()
        nodes = self.registry.nodes
        await self.change(
            lambda _: (None, [row for i in ids & nodes.keys() for row in self.registry.follow_hostname(nodes[i])])
        )

    async def _write_behind(self) -> None:
        """Status rows of all nodes that said something since; kept for the next time when the database fails. Alone, or
        the row of a node that is being deleted would be written behind its deletion."""
        ids, self._unwritten = self._unwritten, set()
        rows = [self.registry.status[node_id] for node_id in ids if node_id in self.registry.status]
        try:
            if rows:
                await self.store.commit(rows)
        except StoreUnavailable:
            self._unwritten |= ids
            raise

    # --- policy ----------------------------------------------------------------------------------------------

    def check_policy(self, text: str) -> Policy:
        """Raises Refused with the first fault, naming its line; the policy's own tests are run (C10, C11)."""
        try:
            policy = parse_policy(text)
        except PolicyError as error:
            raise Refused(str(error)) from None
        nodes = [policy_node(node, self.registry.users) for node in self.registry.nodes.values()]
        failures = run_tests(policy, nodes)
        if failures:
            raise Refused("; ".join(str(failure) for failure in failures[:5]))
        return policy

    async def set_policy(self, text: str, actor: str) -> int:
        """Checked, tested, stored, pushed; returns its version. Raises Refused, StoreUnavailable: the old one stays."""
        return await self.turns.take(self._set_policy(text, actor))

    async def _set_policy(self, text: str, actor: str) -> int:
        policy = self.check_policy(text)
        current = self.registry.policy
        row = PolicyText(current.version + 1 if current is not None else 1, text, self.wall())
        await self._commit([row, Audit(row.at, actor, "policy set", f"policy {row.version}")])
        self._use_policy(policy, self.now())
        self._schedule()
        return row.version

    def deny_all(self) -> None:
        """There should be a policy and none can be read: closed, never open."""
        self._use_policy(DENY_ALL, self.now())

    def _use_policy(self, policy: Policy, now: Instant) -> None:
        self.policy = policy
        self.mapper.policy_replaced(policy, now)

    def surroundings_replaced(self, surroundings: Surroundings) -> None:
        """The DERP map or the DNS settings are others now; every node is told."""
        self.settings = replace(self.settings, surroundings=surroundings)
        self.mapper.surroundings_replaced(surroundings, self.now())
        self._schedule()

    # --- for the front ---------------------------------------------------------------------------------------

    def admits(self, key: NodeKey) -> bool:
        return self.registry.key_is_live(key, self.wall())
