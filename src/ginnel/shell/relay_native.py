"""What a relay may be able to do, depending on the extension it was built with. The one place that asks.

Room: shell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ginnel.native import Relay
from ginnel.wire.relaycontrol import MeshNode

NO_MESH = ""


def can_mesh() -> bool:
    return hasattr(Relay, "set_mesh")


def set_mesh(native: Relay, key: bytes | None, peers: Sequence[MeshNode]) -> None:
    """Nothing happens where there is no mesh; such a relay says so when it registers."""
    if can_mesh():
        rows = [(peer.host, list(peer.addresses), peer.port, peer.cert_name) for peer in peers]
        _any(native).set_mesh(key, rows)


def mesh_links(native: Relay) -> int:
    """How many of the region's other relays it is connected to."""
    return sum(1 for row in _any(native).mesh() if row[1]) if hasattr(Relay, "mesh") else 0


def drain(native: Relay, reconnect_in: float, try_for: float) -> None:
    if hasattr(Relay, "drain"):
        _any(native).drain(reconnect_in, try_for)


def undrain(native: Relay) -> None:
    if hasattr(Relay, "undrain"):
        _any(native).undrain()


def client_count(native: Relay) -> int:
    return int(_any(native).client_count()) if hasattr(Relay, "client_count") else len(native.clients())


def _any(native: Relay) -> Any:
    return native
