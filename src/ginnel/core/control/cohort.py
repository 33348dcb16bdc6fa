"""Streams that were sent the same, and what brings them up to date.

Room: core. A cohort remembers which view of which peer its streams hold; a round of frames is the difference between
that and what they should hold now, worked out once for all of them. A stream never holds its own node: where the
cohort's difference names it, that stream alone gets the difference without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ginnel.core.control.frames import Frames, array_of, object_of
from ginnel.core.control.peerview import Changes, PeerView, changes
from ginnel.words import NodeId, UserId

ViewOf = Callable[[NodeId], PeerView | None]
ProfileOf = Callable[[UserId], bytes]


@dataclass(slots=True)
class Cohort:
    """`given`: the peers its streams hold. `profiles`: of the owners of these, the user profiles that all streams were
    sent, in the latest form; a user who has left is forgotten, or later streams would hear of whom they never saw."""

    given: dict[NodeId, PeerView] = field(default_factory=dict)
    profiles: dict[UserId, bytes] = field(default_factory=dict)

    def merge(self, other: Cohort) -> None:
        """Both hold the same but for their own members; a profile counts only where both had it."""
        self.given = {**other.given, **self.given}
        common = self.profiles.items() & other.profiles.items()
        self.profiles = dict(common)

    def forget_users(self, users: set[UserId]) -> None:
        """Those of them who own nothing here any more."""
        if users:
            for user in users - {view.fixed.user for view in self.given.values()}:
                self.profiles.pop(user, None)

    def copy(self) -> Cohort:
        return Cohort(dict(self.given), dict(self.profiles))


@dataclass(slots=True)
class Difference:
    """What turns one set of peers into another; items by node, so that one node can be left out."""

    items: dict[NodeId, Changes] = field(default_factory=dict)
    removed: list[NodeId] = field(default_factory=list)
    users: dict[UserId, bytes] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.items or self.removed or self.users)

    def names(self, node_id: NodeId) -> bool:
        return node_id in self.items or node_id in self.removed

    def frames(self, *, without: NodeId | None = None) -> Frames:
        items = [change for node_id, change in sorted(self.items.items()) if node_id != without]
        removed = sorted(node_id for node_id in self.removed if node_id != without)
        first = object_of(
            (
                ("PeersRemoved", array_of(str(node_id).encode() for node_id in removed)),
                ("PeersChanged", array_of(change.entry for change in items if change.entry)),
                ("PeersChangedPatch", array_of(change.patch for change in items if change.patch)),
                ("UserProfiles", array_of(self.users.values())),
            )
        )
        second = object_of([("PeersChangedPatch", array_of(change.second for change in items if change.second))])
        return Frames([json for json in (first, second) if json != b"{}"])


def difference(
    cohort: Cohort,
    wanted: Mapping[NodeId, PeerView | None],
    profile_of: ProfileOf,
    pairs: dict[tuple[int, int], Changes],
) -> Difference:
    """Bring `cohort` to `wanted` (None: no longer seen; nodes not named stay) and say how. `pairs` keeps what was
    worked out for the same two views in this round."""
    found = Difference()
    lost: set[UserId] = set()
    for node_id, view in wanted.items():
        old = cohort.given.get(node_id)
        if view is old:
            continue
        if old is not None and (view is None or view.fixed.user != old.fixed.user):
            lost.add(old.fixed.user)
        if view is None:
            del cohort.given[node_id]
            found.removed.append(node_id)
            continue
        step = _step(old, view, pairs)
        cohort.given[node_id] = view
        if any(step):
            found.items[node_id] = step
            if step.entry:
                _introduce(cohort, view.fixed.user, profile_of, found)
    cohort.forget_users(lost)
    return found


def _step(old: PeerView | None, view: PeerView, pairs: dict[tuple[int, int], Changes]) -> Changes:
    """Views live at least as long as the round, so their identities name them."""
    pair = (id(old), id(view))
    step = pairs.get(pair)
    if step is None:
        step = pairs[pair] = changes(old, view)
    return step


def _introduce(cohort: Cohort, user: UserId, profile_of: ProfileOf, found: Difference) -> None:
    profile = profile_of(user)
    if cohort.profiles.get(user) != profile:
        cohort.profiles[user] = profile
        found.users[user] = profile


def rename_users(cohort: Cohort, users: Iterable[UserId], profile_of: ProfileOf, found: Difference) -> None:
    """Profiles that the cohort holds in an old form are sent anew."""
    for user in users:
        if user in cohort.profiles:
            _introduce(cohort, user, profile_of, found)
