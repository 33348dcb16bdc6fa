"""Asking the home router for an open UDP port, by PCP, NAT-PMP or UPnP (tailscale: net/portmapper).

Room: core. `mapper.py` chooses and holds; `by_pcp.py`, `by_natpmp.py` and `by_upnp.py` each know one protocol.
"""
