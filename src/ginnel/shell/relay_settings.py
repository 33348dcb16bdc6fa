"""What a relay is started with, and the limits that follow from the machine.

Room: shell.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ginnel.wire.derp import HEADER_SIZE, PACKET_LIMIT
from ginnel.words import KEY_SIZE, RegionId

DEFAULT_REGION = RegionId(900)
"""Regions 900 to 999 are left to private relays (tailscale: tailcfg/derpmap.go)."""

MAX_CONNECTIONS = 60_000
MAX_FRAME = HEADER_SIZE + KEY_SIZE + PACKET_LIMIT
SPARE_DESCRIPTORS = 128
"""For everything that is no client: files, listeners, the server beside the relay."""

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


class RelayError(Exception):
    """Why the relay can't run: one line that says what to do."""


@dataclass(frozen=True, slots=True)
class AcmeSettings:
    """`url`: the authority's directory. `ca`: PEM file that vouches for the authority itself, if it is one's own.
    `email`: where it may write to."""

    url: str = LETS_ENCRYPT
    ca: Path | None = None
    email: str = ""


@dataclass(frozen=True, slots=True)
class VerifySettings:
    """`url`: asked at each login whether the node may come in. `fail_open`: without an answer it may. `remembered`:
    seconds for which a yes holds when no answer comes. `ca`: PEM file that vouches for the URL's server."""

    url: str
    fail_open: bool = False
    remembered: float = 300.0
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """`state`: directory of its keys. `hostname`: name or IP literal by which nodes reach it. `tls`, `http`, `stun`:
    "ip:port" to listen on. `certificate` and `certificate_key`: files, both or neither; without them a leaf is made
    here and pinned. `acme`: ask an authority for one; until it has come, the pinned one is served. `splice`: unix
    socket of the server behind. `inherited`: sockets that who started this process has bound. `verify`: who else has a
    say in logins."""

    state: Path
    hostname: str
    tls: Sequence[str] = ("[::]:443",)
    http: Sequence[str] = ("[::]:80",)
    stun: Sequence[str] = ("[::]:3478",)
    certificate: Path | None = None
    certificate_key: Path | None = None
    acme: AcmeSettings | None = None
    verify: VerifySettings | None = None
    splice: Path | None = None
    inherited: Sequence[int] = ()
    members_only: bool = True
    region: RegionId = DEFAULT_REGION
    region_code: str = "own"
    region_name: str = "Own relay"
    ipv4: str = ""
    ipv6: str = ""
    derp_port: int = 0
    """As seen from outside; 0: the one listened on."""
    receive_rate: int = 0
    """Bytes a second that each client may send; 0: as fast as it can."""
    threads: int = field(default_factory=lambda: min(os.cpu_count() or 1, 8))


def listen_anywhere(port: int) -> str:
    """Both families where the system has IPv6, else IPv4."""
    return f"[::]:{port}" if _has_ipv6() else f"0.0.0.0:{port}"


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def connection_limits(descriptors: int, *, splices: bool) -> dict[str, float]:
    """Connections that so many descriptors bear, of which a spliced one takes two; no place has more than a quarter.
    Without this, one client could take the last descriptor of everything in this process."""
    connections = max(min(MAX_CONNECTIONS, (descriptors - SPARE_DESCRIPTORS) // (2 if splices else 1)), 1)
    per_prefix = max(min(4096, connections // 4), 1)
    return {
        "connections": connections,
        "per_prefix": per_prefix,
        "half_open_per_prefix": min(512, per_prefix),
    }


def receive_limits(rate: int) -> dict[str, float]:
    """A second's worth at once, and never less than the longest frame."""
    return {"receive_rate": rate, "receive_burst": max(rate, MAX_FRAME)} if rate else {}
