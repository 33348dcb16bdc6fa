"""Network maps: a first frame for each new stream, then rounds of differences (tailscale: tailcfg.MapResponse).

Room: core. Each peer is encoded once (peerview), each difference once for all who see the same (cohort); the work of
a round grows with the number of changes plus the number of streams, never with their product in Python. Rounds are
batched: at once when all was quiet, at a slower beat while changes keep coming.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

import msgspec

from ginnel.core.control import limits
from ginnel.core.control.access import Access
from ginnel.core.control.cohort import Cohort, Difference, difference, rename_users
from ginnel.core.control.frames import Frames, array_of, object_of
from ginnel.core.control.mapstreams import Action, End, Send, Stream, Surroundings
from ginnel.core.control.peerview import Changes, PeerView
from ginnel.core.control.policy import Policy, Touched
from ginnel.core.control.presence import Presence
from ginnel.core.control.registry import Registry
from ginnel.core.control.views import Views
from ginnel.wire.mapstream import KEEP_ALIVE
from ginnel.wire.tailcfg import stamp
from ginnel.words import Instant, NodeId, UserId, WallTime

__all__ = ["Action", "End", "Mapper", "Send", "Stream", "Surroundings"]

QUIET = b'{"DisableLogTail":true}'
LONG_AGO = Instant(float("-inf"))


@dataclass(slots=True)
class Mapper:
    """`changed`, `removed` and the like note what happened; `tick` says what to send for it."""

    registry: Registry
    access: Access
    presence: Presence
    surroundings: Surroundings
    streams: dict[NodeId, Stream] = field(default_factory=dict)
    views: Views = field(init=False)
    may_upload: Callable[[NodeId], bool] = lambda _: False  # its own logs; all others are told to send none
    _generation: int = 0
    _cohorts: dict[Hashable, tuple[int, Cohort]] = field(default_factory=dict)  # class -> (version, cohort)
    _dirty: set[NodeId] = field(default_factory=set)
    _gone: set[NodeId] = field(default_factory=set)
    _refilter: set[NodeId] = field(default_factory=set)
    _renamed: set[UserId] = field(default_factory=set)
    _everything: bool = False
    _remap: bool = False  # the DERP map may be another for everybody
    _news: list[bytes] = field(default_factory=list)  # objects that every stream is sent
    _due: Instant | None = None
    _last_round: Instant = LONG_AGO

    def __post_init__(self) -> None:
        self.views = Views(
            self.registry, self.access, self.presence, self.surroundings.base_domain, self.surroundings.told
        )

    # --- what happened ---------------------------------------------------------------------------------------

    def changed(self, node_id: NodeId, now: Instant, wall: WallTime) -> None:
        """The node's record, status, presence or expiry is another now. A node that is new is noted the same way."""
        node = self.registry.nodes[node_id]
        self.views.forget(node_id)
        self._dirty.add(node_id)
        self._gone.discard(node_id)
        self._note(self.access.put(node, self.registry.users, expired=node.expired(wall)))
        self._soon(now)

    def removed(self, node_id: NodeId, now: Instant) -> list[Action]:
        """The node is deleted: its stream ends, with a last word that makes its client ask for a login."""
        self.views.forget(node_id)
        self._dirty.add(node_id)
        self._gone.add(node_id)
        self._note(self.access.remove(node_id))
        self._soon(now)
        stream = self.streams.pop(node_id, None)
        return [self._farewell(stream), End(stream)] if stream is not None else []

    def ended(self, node_id: NodeId) -> list[Action]:
        """The node has another key now: what was opened with the old one ends."""
        stream = self.streams.pop(node_id, None)
        return [End(stream)] if stream is not None else []

    def user_renamed(self, user: UserId, now: Instant, wall: WallTime) -> None:
        self._renamed.add(user)
        for node in list(self.registry.nodes.values()):
            if node.user == user:
                self.changed(node.id, now, wall)
        self._soon(now)

    def policy_replaced(self, policy: Policy, now: Instant) -> None:
        self.access.replace_policy(policy)
        self._everything = True
        self._soon(now)

    def surroundings_replaced(self, surroundings: Surroundings, now: Instant) -> None:
        old, self.surroundings = self.surroundings, surroundings
        self.views.base_domain = surroundings.base_domain
        if surroundings.dns_config != old.dns_config:
            self._news.append(object_of([("DNSConfig", surroundings.dns_config)]))
        self._remap = True
        self._soon(now)

    def _note(self, touched: Touched) -> None:
        self._refilter |= touched.refiltered

    def _soon(self, now: Instant) -> None:
        if self._due is None:
            quiet = now - self._last_round >= limits.FLUSH_WHEN_BUSY
            self._due = (
                Instant(now + limits.FLUSH_AT_REST) if quiet else Instant(self._last_round + limits.FLUSH_WHEN_BUSY)
            )

    # --- streams ---------------------------------------------------------------------------------------------

    def open(
        self, node_id: NodeId, *, compress: str, spread: float, now: Instant, wall: WallTime
    ) -> tuple[Stream, list[Action]]:
        """A new stream of a registered node; the first action that names it carries the whole map.

        The stream is noted for changes in the same step, so no change falls between. `spread`: 0 to 1, at random.
        """
        actions = self.ended(node_id)
        self._generation += 1
        cohort = self._cohort_for(node_id)
        own = self.views.own(node_id)
        keep_alive_after = limits.KEEP_ALIVE + spread * limits.KEEP_ALIVE_SPREAD
        packet_filter = self.views.filter(node_id)
        derp_map = self._derp_map(node_id)
        stream = Stream(
            self._generation, node_id, compress, keep_alive_after, cohort, own, packet_filter, derp_map, now
        )
        self.streams[node_id] = stream
        first = Frames([self._first_object(stream, wall)])
        if self.presence.opened(node_id, stream.generation):
            self.changed(node_id, now, wall)
        return stream, [*actions, Send(stream, first.bytes_for(compress))]

    def close(self, stream: Stream, now: Instant) -> None:
        """The stream is over, whoever ended it. Closing an old one does nothing to a newer one."""
        if self.streams.get(stream.node_id) is stream:
            del self.streams[stream.node_id]
        self.presence.closed(stream.node_id, stream.generation, now)

    def snapshot(self, node_id: NodeId, wall: WallTime) -> bytes:
        """The whole map as JSON, for who asks once: worked out from scratch."""
        cohort = self._fresh_cohort(self.access.class_of(node_id))
        own, packet_filter = self.views.own(node_id), self.views.filter(node_id)
        stream = Stream(0, node_id, "", 0.0, cohort, own, packet_filter, self._derp_map(node_id), Instant(0))
        return self._first_object(stream, wall)

    def _first_object(self, stream: Stream, wall: WallTime) -> bytes:
        given = stream.cohort.given
        peers = [given[node_id] for node_id in sorted(given) if node_id != stream.node_id]
        users = {view.fixed.user for view in peers} | {self.registry.nodes[stream.node_id].user}
        return object_of(
            (
                ("Node", stream.own.json),
                ("DERPMap", stream.derp_map),
                ("Peers", array_of(view.entry for view in peers)),
                ("DNSConfig", self.surroundings.dns_config),
                ("Domain", msgspec.json.encode(self.surroundings.domain)),
                ("CollectServices", b"false"),
                ("PacketFilters", b'{"base":' + stream.filter + b"}"),
                ("UserProfiles", array_of(map(self.views.profile, sorted(users)))),
                ("ControlTime", msgspec.json.encode(stamp(wall))),
                ("Debug", b"" if self.may_upload(stream.node_id) else QUIET),
            )
        )

    def _farewell(self, stream: Stream) -> Send:
        return Send(stream, Frames([object_of([("Node", stream.own.expired_json)])]).bytes_for(stream.compress))

    # --- rounds ----------------------------------------------------------------------------------------------

    def next_timeout(self) -> Instant | None:
        """When the next round of frames is due; keep-alives need a tick now and then besides, once a second will do."""
        return self._due

    def tick(self, now: Instant) -> list[Action]:
        if self._due is None or now < self._due:
            return []
        self._due = None
        self._last_round = now
        return self._round(now)

    def keep_alives(self, now: Instant) -> list[Action]:
        actions: list[Action] = []
        for stream in self.streams.values():
            if now - stream.quiet_since >= stream.keep_alive_after:
                stream.quiet_since = now
                actions.append(Send(stream, KEEP_ALIVE[stream.compress]))
        return actions

    def _round(self, now: Instant) -> list[Action]:
        news = Frames(self._news)
        sent = self._peer_frames()
        filters = self._filter_frames()
        relays = self._derp_frames()
        actions: list[Action] = []
        for stream in self.streams.values():
            parts = [news.bytes_for(stream.compress)] if news else []
            own = self._own_frame(stream)
            parts += [
                frames.bytes_for(stream.compress)
                for frames in (own, sent.get(stream), filters.get(stream), relays.get(stream))
                if frames
            ]
            if parts:
                stream.quiet_since = now
                actions.append(Send(stream, parts[0] if len(parts) == 1 else b"".join(parts)))
        self._settle()
        return actions

    def _settle(self) -> None:
        self._dirty.clear()
        self._gone.clear()
        self._refilter.clear()
        self._renamed.clear()
        self._everything = self._remap = False
        self._news = []

    def _peer_frames(self) -> dict[Stream, Frames]:
        """Bring every stream's peers up to date, group by group."""
        if not (self._dirty or self._renamed or self._everything):
            return {}
        groups: dict[tuple[int, Hashable], list[Stream]] = {}
        for stream in self.streams.values():
            groups.setdefault((id(stream.cohort), self.access.class_of(stream.node_id)), []).append(stream)
        shared: dict[int, int] = {}
        for cohort_id, _ in groups:
            shared[cohort_id] = shared.get(cohort_id, 0) + 1
        pairs: dict[tuple[int, int], Changes] = {}
        frames: dict[Stream, Frames] = {}
        settled: dict[Hashable, Cohort] = {}
        for (cohort_id, kind), streams in groups.items():
            cohort = streams[0].cohort if shared[cohort_id] == 1 else streams[0].cohort.copy()
            self._advance(cohort, kind, streams, pairs, frames)
            if kind in settled:
                settled[kind].merge(cohort)
                cohort = settled[kind]
            settled[kind] = cohort
            for stream in streams:
                stream.cohort = cohort
        self._cohorts = {kind: (self.access.version, cohort) for kind, cohort in settled.items()}
        return frames

    def _advance(
        self,
        cohort: Cohort,
        kind: Hashable,
        streams: list[Stream],
        pairs: dict[tuple[int, int], Changes],
        frames: dict[Stream, Frames],
    ) -> None:
        found = difference(cohort, self._wanted(cohort, kind, streams), self.views.profile, pairs)
        rename_users(cohort, self._renamed, self.views.profile, found)
        if not found:
            return
        for_all = found.frames()
        for stream in streams:
            frames[stream] = self._without_self(found, stream) if found.names(stream.node_id) else for_all

    def _without_self(self, found: Difference, stream: Stream) -> Frames:
        return found.frames(without=stream.node_id)

    def _wanted(self, cohort: Cohort, kind: Hashable, streams: list[Stream]) -> dict[NodeId, PeerView | None]:
        """What the cohort should hold, as far as it can differ. A node that did not change itself sees the others as
        before, except those that changed; it stands for its cohort. Without one, everything is compared."""
        settled = None if self._everything else next((s for s in streams if s.node_id not in self._dirty), None)
        if settled is not None:
            viewer = settled.node_id
            return {
                node_id: self.views.peer(node_id) if self._sees(viewer, node_id) else None for node_id in self._dirty
            }
        target: dict[NodeId, PeerView | None] = dict.fromkeys(cohort.given)
        target.update((node_id, self.views.peer(node_id)) for node_id in self.access.seen_by_class(kind))
        return target

    def _sees(self, viewer: NodeId, other: NodeId) -> bool:
        return other not in self._gone and self.access.sees(viewer, other)

    def _own_frame(self, stream: Stream) -> Frames | None:
        if stream.node_id not in self._dirty and not self._everything:
            return None
        own, user = self.views.own(stream.node_id), self.registry.nodes[stream.node_id].user
        told = own.tells_the_same(stream.own)
        if told and user not in self._renamed:
            return None
        stream.own = own
        profile = ("UserProfiles", array_of([self.views.profile(user)]))
        return Frames([object_of([profile] if told else [("Node", own.json), profile])])

    def _filter_frames(self) -> dict[Stream, Frames]:
        ids: Iterable[NodeId] = self.streams if self._everything else self._refilter | self._dirty
        frames: dict[Stream, Frames] = {}
        made: dict[bytes, Frames] = {}
        for node_id in ids:
            stream = self.streams.get(node_id)
            if stream is None:
                continue
            packet_filter = self.views.filter(node_id)
            if packet_filter != stream.filter:
                stream.filter = packet_filter
                if packet_filter not in made:
                    made[packet_filter] = Frames([b'{"PacketFilters":{"base":' + packet_filter + b"}}"])
                frames[stream] = made[packet_filter]
        return frames

    def _derp_map(self, node_id: NodeId) -> bytes:
        node = self.registry.nodes[node_id]
        user = self.registry.users.get(node.user)
        return self.surroundings.derp_map_for(node, user.name if user is not None else "")

    def _derp_frames(self) -> dict[Stream, Frames]:
        """A map is told again only where it is another: each makes its client measure all relays anew."""
        frames: dict[Stream, Frames] = {}
        made: dict[bytes, Frames] = {}
        for node_id in self.streams if self._remap or self._renamed else self._dirty & self.streams.keys():
            stream, derp_map = self.streams[node_id], self._derp_map(node_id)
            if derp_map and derp_map != stream.derp_map:
                stream.derp_map = derp_map
                if derp_map not in made:
                    made[derp_map] = Frames([object_of([("DERPMap", derp_map)])])
                frames[stream] = made[derp_map]
        return frames

    # --- cohorts -----------------------------------------------------------------------------------------------

    def _cohort_for(self, node_id: NodeId) -> Cohort:
        """The cohort of the node's class if it is up to date with who sees whom; else one of its own, which the next
        round merges."""
        kind = self.access.class_of(node_id)
        version, cohort = self._cohorts.get(kind, (-1, None))
        if cohort is None or version != self.access.version:
            cohort = self._fresh_cohort(kind)
            self._cohorts[kind] = (self.access.version, cohort)
        return cohort

    def _fresh_cohort(self, kind: Hashable) -> Cohort:
        given = {node_id: self.views.peer(node_id) for node_id in self.access.seen_by_class(kind)}
        return Cohort(given, {user: self.views.profile(user) for user in {view.fixed.user for view in given.values()}})
