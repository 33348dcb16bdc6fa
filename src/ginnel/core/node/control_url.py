"""Which sockets to try for a coordination server's URL, and in which order (tailscale: control/controlhttp/client.go).

Room: core.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

_PRIVATE = [ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8")]
_PRIVATE += [ip_network("fc00::/7"), ip_network("::1/128")]


@dataclass(frozen=True, slots=True)
class Leg:
    """One way to reach the server. Certificates do not count on it: Noise proves who answers."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def legs(url: str) -> tuple[Leg, ...]:
    """https: its port or 443. http: its port or 80, then TLS on 443 unless the host is private. Raises ValueError."""
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"expected http(s)://host, got {url!r}")
    if parts.scheme == "https":
        return (Leg(host, port or 443, tls=True),)
    plain = Leg(host, port or 80, tls=False)
    return (plain,) if is_private(host) else (plain, Leg(host, 443, tls=True))


def is_private(host: str) -> bool:
    """A private or loopback address as a literal, or `localhost`; a name never is, whatever it resolves to."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return any(address in network for network in _PRIVATE if network.version == address.version)
