"""Which tags a node may carry: only what its user, or the tags it carries already, own (`tagOwners`).

Room: core. No sockets, clocks, files, randomness or logs come in.
"""

from __future__ import annotations

from collections.abc import Iterable

from ginnel.core.control.policy.model import Atom, Kind, Policy, user_name


class TagRefused(Exception):
    """The requester may not carry the tag. str() is one line for the one who asked."""

    def __init__(self, tag: str) -> None:
        super().__init__(f"requested tag {tag[:70]!r} is unknown or not yours: ask an admin to list you in tagOwners")
        self.tag = tag


def check_tags(
    policy: Policy, requested: Iterable[str], user: str, carried: Iterable[str] = frozenset()
) -> frozenset[str]:
    """The requested tags, all of them allowed to `user` (login name) or to a node that carries `carried` tags.

    Raises TagRefused at the first that is not. With carried tags the user's own rights do not count.
    """
    tags = frozenset(carried)
    rights = {Atom(Kind.TAG, tag) for tag in tags} or {Atom(Kind.USER, user_name(user)), Atom(Kind.MEMBER)}
    wanted = frozenset(requested)
    for tag in sorted(wanted):
        if tag not in tags and rights.isdisjoint(policy.tag_owners.get(tag, ())):
            raise TagRefused(tag)
    return wanted
