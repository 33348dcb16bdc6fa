"""What the tunnel would not take of the server's map, until it takes something better in its place.

Room: shell.
"""

from __future__ import annotations

from ginnel.core.node import actions as act
from ginnel.core.node.actions import Action

Place = tuple[object, ...]


class Refused:
    """By the place in the tunnel's tables: a map that mends another place leaves the fault where it was."""

    def __init__(self) -> None:
        self._faults: dict[Place, str] = {}

    def refused(self, action: Action, why: str) -> None:
        self._faults[_place(action)] = why

    def taken(self, action: Action) -> None:
        if self._faults:
            self._faults.pop(_place(action), None)

    @property
    def line(self) -> str | None:
        """For `status`; None: all is well."""
        fault = next(iter(self._faults.values()), None)
        return f"the server's map holds something unusable: {fault}" if fault is not None else None


def _place(action: Action) -> Place:
    match action:
        case act.SetPeer(peer) | act.RemovePeer(peer):
            return ("peer", peer)
        case act.Steer(peer):
            return ("steer", peer)
        case act.RelayOpen(region) | act.RelayClose(region):
            return ("relay", region)
    return (type(action),)
