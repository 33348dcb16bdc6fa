"""Whose direct path leads where.

Room: core.
"""

from __future__ import annotations

from ginnel.words import Endpoint, NodeKey


class SteeredPeers:
    """By endpoint, the peer that was last steered there."""

    def __init__(self) -> None:
        self._to: dict[NodeKey, Endpoint] = {}
        self._at: dict[Endpoint, NodeKey] = {}

    def note(self, peer: NodeKey, endpoint: Endpoint | None) -> None:
        before = self._to.pop(peer, None)
        if before is not None and self._at.get(before) == peer:
            del self._at[before]
        if endpoint is not None:
            self._to[peer] = endpoint
            self._at[endpoint] = peer

    def at(self, endpoint: Endpoint) -> NodeKey | None:
        return self._at.get(endpoint)
