"""What a node is told to do or to leave, in the capability map of its own entry (tailscale: tailcfg.NodeCapability).

Room: core.
"""

from __future__ import annotations

from typing import Any

NO_CAPTIVE_PORTAL_DETECTION = "disable-captive-portal-detection"
OUR_VERSIONS = "-ginnel"


BASELINE: dict[str, list[Any] | None] = {"default-auto-update": [False]}
"""For every node: which version it runs is its operator's choice. Without the attributes for file sharing and SSH,
clients refuse to offer what has no policy here."""


def attributes_of(hostinfo: dict[str, Any]) -> dict[str, list[Any] | None]:
    """hostinfo: what the node says of itself.

    Official clients look for captive portals not only at our relays but always at two of their vendor's hosts as well,
    and a name server that does not answer for those makes them miss ours (tailscale: net/captivedetection). Nothing
    else stops that. Our own node asks our relays alone, so it may go on.
    """
    if str(hostinfo.get("IPNVersion", "")).endswith(OUR_VERSIONS):
        return BASELINE
    return {**BASELINE, NO_CAPTIVE_PORTAL_DETECTION: None}
