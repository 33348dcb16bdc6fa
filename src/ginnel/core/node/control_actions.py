"""What a control session asks of its shell, and what it is given to tell the server (control_session.py).

Room: core. Plain values: the shell performs them, a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ginnel.core.node.login import LoginAction
from ginnel.wire.tailcfg import MapRequest, MapResponse
from ginnel.words import NodeKey


@dataclass(frozen=True, slots=True)
class Report:
    """What the server is told about this node; the newest replaces all before it."""

    hostinfo: Mapping[str, Any]
    endpoints: tuple[str, ...] = ()
    endpoint_types: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenMap:
    """`POST /machine/map`, streaming. Tell each frame with `map_frame`, the end with `map_ended`."""

    request: MapRequest


@dataclass(frozen=True, slots=True)
class CloseMap:
    """Give the stream up; where it is dead, the whole connection with it."""

    dead: bool = False


@dataclass(frozen=True, slots=True)
class SendLite:
    """`POST /machine/map` without a stream. Tell the outcome with `lite_done` or `lite_failed`."""

    request: MapRequest


@dataclass(frozen=True, slots=True)
class Merge:
    """A frame of the map for whoever keeps it; `first`: a new stream's first one, which replaces what was known."""

    frame: MapResponse
    first: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """`HEAD url`, inside Noise or by plain HTTP(S); nothing is told back."""

    url: str
    inside_noise: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """`POST path` with this body, inside Noise; nothing is told back."""

    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Testify:
    """`POST path` with `c2n.pair_answer` of what this node knows of the way to a peer, which asks by the server."""

    path: str
    asker: NodeKey


@dataclass(frozen=True, slots=True)
class KeyExpired:
    """The self node's key is no longer good (True), or good again."""

    expired: bool


ControlAction = LoginAction | OpenMap | CloseMap | SendLite | Merge | Probe | Reply | Testify | KeyExpired
