"""What a node is told to do or to leave, in the capability map of its own entry (tailscale: tailcfg.NodeCapability).

Room: core.
"""

from __future__ import annotations

from typing import Any

NO_CAPTIVE_PORTAL_DETECTION = "disable-captive-portal-detection"
OUR_VERSIONS = "-ginnel"


def attributes_of(hostinfo: dict[str, Any]) -> dict[str, list[Any] | None] | None:
    """hostinfo: what the node says of itself; None where there is nothing to tell.

    Official clients look for captive portals not only at our relays but always at two of their vendor's hosts as well,
    and a name server that does not answer for those makes them miss ours (tailscale: net/captivedetection). Nothing
    else stops that. Our own node asks our relays alone, so it may go on.
    """
    if str(hostinfo.get("IPNVersion", "")).endswith(OUR_VERSIONS):
        return None
    return {NO_CAPTIVE_PORTAL_DETECTION: None}
