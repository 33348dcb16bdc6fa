"""Daemons in the lab, ours and the official one, each started as a person would, on the same server of ours."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import _peers
from ginnel.lab import LabError
from ginnel.lab.faults import spare
from ginnel.lab.instance import Lab, can_stand
from ginnel.lab.kinds import NODE_PORT, SERVER, network
from ginnel.lab.line import Impairment
from ginnel.lab.members import DAEMON_SOCKET, Server, answer, program, status_by_socket, surroundings, way_in
from ginnel.lab.mesh import into_tunnel
from ginnel.lab.processes import Process, until
from ginnel.lab.topology import Topology
from ginnel.lab.traffic import Conversation

START_LIMIT = 30.0
OPEN_LIMIT = 20.0
ASK_AGAIN = 0.01
OFFICIAL_SOCKET = "run/tailscaled.sock"


def why_not() -> str | None:
    """Why no lab can stand here; None where one can."""
    try:
        can_stand()
    except LabError as error:
        return str(error)
    return None


@dataclass(frozen=True)
class Side:
    """A daemon with its command: how both are started on a host of the lab."""

    name: str
    daemon: list[str]
    command: list[str]
    up: list[str]
    environment: dict[str, str]
    socket: str
    api_host: str


def sides(server: Server) -> list[Side]:
    """Ours, and the official one where it is there."""
    found = [_ours(server)]
    tailscaled, tailscale = official_programs()
    if tailscaled and tailscale:
        found.append(_official(server, tailscaled, tailscale))
    return found


def official_programs() -> tuple[str | None, str | None]:
    return _peers.find("BENCH_TAILSCALED"), _peers.find("BENCH_TAILSCALE")


def official_absent() -> str:
    """ "" where both programs are there."""
    missing = [v for v in ("BENCH_TAILSCALED", "BENCH_TAILSCALE") if _peers.find(v) is None]
    return "; ".join(map(_peers.absent, missing))


def _ours(server: Server) -> Side:
    return Side(
        "ginnel",
        [*program("ginneld"), "--state", "/run/lab/state", "--socket", f"/{DAEMON_SOCKET}", "--port", str(NODE_PORT)],
        [*program("main")],
        ["up", "--invite", server.invite],
        surroundings(),
        DAEMON_SOCKET,
        "local-ginneld.sock",
    )


def _official(server: Server, tailscaled: str, tailscale: str) -> Side:
    """Its server is ours, whose certificate it trusts as a file; nothing of it is sent to its makers."""
    certificate = next((server.lab.directory / SERVER / "state").rglob("*.crt"))
    for host in server.lab.host_names():
        (server.lab.directory / host / "trust.pem").write_bytes(certificate.read_bytes())
    home = "/run/lab/state"
    return Side(
        "tailscaled",
        [tailscaled, "--statedir", home, "--socket", f"/{OFFICIAL_SOCKET}", "--port", str(NODE_PORT)],
        [tailscale, "--socket", f"/{OFFICIAL_SOCKET}"],
        ["up", "--login-server", server.url, "--auth-key", server.auth_key, "--accept-dns=false"],
        {"SSL_CERT_FILE": "/run/lab/trust.pem", "TS_NO_LOGS_NO_SUPPORT": "true", "TS_DEBUG_FIREWALL_MODE": "nftables"},
        OFFICIAL_SOCKET,
        "local-tailscaled.sock",
    )


@dataclass
class Member:
    """One host with a daemon. `seconds_to_running`: from the start of the daemon's process."""

    lab: Lab
    host: str
    side: Side
    seconds_to_running: float = 0.0
    process: Process = field(init=False)

    def start(self) -> None:
        """Until the node runs: daemon, then `up` as soon as the daemon answers."""
        began = time.monotonic()
        self.process = self.lab.start(self.host, "daemon", self.side.daemon, self.side.environment)
        until(self.status, START_LIMIT, f"the daemon on {self.host}", self.process)
        up = self.lab.start(self.host, "up", [*self.side.command, *self.side.up], self.side.environment)
        until(lambda: self.running() or None, START_LIMIT, f"{self.host} to run", self.process)
        self.seconds_to_running = time.monotonic() - began
        answer(up, START_LIMIT)

    def running(self) -> bool:
        return (self.status() or {}).get("BackendState") == "Running"

    @property
    def address(self) -> str:
        return str((self.status() or {})["TailscaleIPs"][0])

    def status(self) -> dict[str, Any] | None:
        return status_by_socket(self.lab.directory / self.host / self.side.socket, self.side.api_host)

    def direct_to(self, address: str) -> bool:
        return bool(self.endpoint_of(address))

    def endpoint_of(self, address: str) -> str:
        """The peer's endpoint while the path to it is direct, else ""."""
        return way_in(self.status() or {}, address).endpoint

    def knows(self, other: Member) -> None:
        """Until the kernel sends what is meant for the other into the tunnel."""
        space, address = self.lab.spaces[self.host], other.address
        until(lambda: into_tunnel(space, address), START_LIMIT, f"a route from {self.host} to {other.host}")

    def rss(self) -> float:
        """MiB."""
        status = Path(f"/proc/{self.process.popen.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def packets(self) -> int:
        """In and out of the host's own interface so far."""
        return self.lab.spaces[self.host].call(_packets, "eth0")

    def timed(self, *words: str) -> tuple[float, float]:
        """Seconds of one command of this side on this host: by the clock from its start to its end, and of CPU."""
        return self.lab.spaces[self.host].call(_timed, [*self.side.command, *words], self.side.environment)


def _packets(interface: str) -> int:
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    fields = next(line.split(":")[1].split() for line in lines if line.strip().startswith(f"{interface}:"))
    return int(fields[1]) + int(fields[9])


def _timed(argv: list[str], environment: dict[str, str]) -> tuple[float, float]:
    before, began = os.times(), time.perf_counter()
    subprocess.run(argv, env={**os.environ, **environment}, check=True, capture_output=True, timeout=30)
    took, after = time.perf_counter() - began, os.times()
    return took, sum(after[2:4]) - sum(before[2:4])


@contextmanager
def members(
    kind: str, pairs: int, only: str | None = None, one_way: float = 0.0, spares: bool = False
) -> Iterator[dict[str, list[Member]]]:
    """By side, `2 * pairs` hosts behind networks of a kind, their nodes not yet started; the server runs.

    only: one side's name. one_way: seconds between each site and the internet. spares: a home router `spare-HOST` for
    each, to which it can move.
    """
    names = [f"{side}{number}" for side in ("ours", "theirs") for number in range(2 * pairs)]
    topology = network(**dict.fromkeys(names, kind))
    if spares:
        topology = Topology((*topology.routers, *(spare(f"spare-{name}") for name in names)), topology.hosts)
    edges = {*map(topology.edge, names), *(router.name for router in topology.routers)} if one_way else set()
    with Lab(topology, {edge: Impairment(delay=one_way) for edge in sorted(edges)}) as lab:
        server = Server(lab)
        server.start()
        found: dict[str, list[Member]] = {}
        for side, prefix in zip(sides(server), ("ours", "theirs"), strict=False):
            if only in (None, side.name):
                found[side.name] = [Member(lab, name, side) for name in names if name.startswith(prefix)]
        yield found


@contextmanager
def talking(a: Member, b: Member) -> Iterator[Conversation]:
    """A TCP stream from a to b that goes on until the block ends."""
    a.knows(b)
    b.knows(a)
    spaces = a.lab.spaces
    with Conversation(spaces[a.host], spaces[b.host], b.address, OPEN_LIMIT) as stream:
        yield stream
