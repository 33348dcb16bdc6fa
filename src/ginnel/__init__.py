"""A self-hosted mesh VPN that speaks Tailscale's protocols."""

__version__ = "0.1.0"
