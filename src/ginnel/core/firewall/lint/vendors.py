"""What is known of makers' firewalls that no rule tells.

Room: core. Source: tailscale#15217.
"""

from __future__ import annotations

FORTIGATE = (
    "FortiGate learns the addresses of a wildcard FQDN from DNS answers that pass it: the mesh's programs dial relays "
    "by the addresses in the DERP map and ask no DNS, so such an object stays empty; use derpN-all names (L3) that it "
    "resolves itself, an address list (`ginnel firewall sync`), or have the server leave addresses out of the map "
    "(derp.names_only)"
)
WARNINGS = {"fortigate": (FORTIGATE,)}


def warnings(vendor: str) -> tuple[str, ...]:
    return WARNINGS[vendor]
