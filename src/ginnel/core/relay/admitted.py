"""Whom a relay's verifier has let in lately: what counts when it does not answer.

Room: core.
"""

from __future__ import annotations

from collections import OrderedDict

from ginnel.words import Instant, NodeKey

MAX_REMEMBERED = 10_000


class Admitted:
    """A yes holds for `lifetime` seconds; beyond MAX_REMEMBERED the oldest is forgotten."""

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self._since: OrderedDict[NodeKey, Instant] = OrderedDict()

    def decided(self, key: NodeKey, allow: bool, now: Instant) -> None:
        """What the verifier said. A no ends an earlier yes."""
        self._since.pop(key, None)
        if allow:
            self._since[key] = now
        if len(self._since) > MAX_REMEMBERED:
            self._since.popitem(last=False)

    def lately(self, key: NodeKey, now: Instant) -> bool:
        since = self._since.get(key)
        return since is not None and now < since + self._lifetime
