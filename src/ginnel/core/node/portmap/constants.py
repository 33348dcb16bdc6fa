"""The numbers of port mapping, in two lists: Tailscale's, and ours. Seconds, if nothing else is said.

Room: core. Source of the first: tailscale: net/portmapper/portmapper.go.
"""

from __future__ import annotations

# --- Tailscale's -----------------------------------------------------------------------------------------------

PROBE_TIME = 0.25
SERVICE_TRUSTED = 600.0  # how long a protocol that answered is held to be there
LIFETIME = 7200  # asked for, whole seconds; renewed after half of what was granted
LOCATIONS_KEPT = 11  # UPnP devices that a search may find
LOWEST_PORT = 1024

# --- ours ------------------------------------------------------------------------------------------------------

LATE_ANSWER = 3.0  # after a probe: SSDP lets devices take their time (MX: 2)
RETRIES = (0.25, 0.5, 1.0, 1.0)  # between the sends of a question to the router; then it is taken for gone
RESTS = (2.0, 10.0, 60.0, 300.0, 600.0)  # after the first, second, ... fruitless round
HELD_WELL = 60.0  # a mapping that stood that long makes the next failure a first one
LIFETIME_MIN = 30  # a router that grants less would be asked all the time
CHECK_ACTIVE, CHECK_IDLE = 30.0, 300.0  # between looks whether the router still knows the mapping
CHECK_UPNP_ACTIVE, CHECK_UPNP_IDLE = 120.0, 900.0  # those cost TCP connections
CHECK_GAP, PROBE_GAP = 2.0, 5.0  # announcements that come faster lead to no check, no probe
UPNP_LIMIT = 8.0  # for all that one mapping by UPnP takes
UPNP_PORTS_TRIED = 3
LOCATIONS_TRIED = 3
"""Of a gateway's descriptions in one round."""
