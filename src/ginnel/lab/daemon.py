"""Tailscale's own daemon with a TUN device, and its command line, as a member of a lab.

Room: lab. The programs are not ours to ship: `make interop` builds them from the Go modules, or the environment names
them. What they would send to their vendor's log is switched off, as an operator has to do as well.
"""

from __future__ import annotations

import json
import os
import time
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from ginnel.lab import LabError
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import NODE_PORT
from ginnel.lab.members import SOURCES, START_LIMIT, UP_LIMIT, Way, address_in, answer, status_by_socket, way_in
from ginnel.lab.processes import Process, until

BUILT = SOURCES.parent / "var/official"  # where `make interop` puts them
SOCKET = "run/tailscale/tailscaled.sock"  # below the host's directory
STATE = "/run/lab/state"
PROGRAMS = ("tailscaled", "tailscale")
QUIET = {"TS_NO_LOGS_NO_SUPPORT": "true", "TS_LOGS_DIR": STATE}


def official(program: str) -> Path:
    """`tailscaled`, `tailscale` and the like: what BENCH_TAILSCALED and so on name, else what `make interop` built."""
    variable = f"BENCH_{program.upper()}"
    found = Path(os.environ.get(variable) or BUILT / program)
    if not os.access(found, os.X_OK):
        raise LabError(
            f"the official {program} is not at {found}: build it with make interop, or set {variable} to its path"
        )
    return found


class Joinable(Protocol):
    """A coordination server, ours or not."""

    @property
    def url(self) -> str: ...
    @property
    def auth_key(self) -> str: ...


class OfficialDaemon:
    """`tailscaled` and the `tailscale` that talks to it, asked and read as a person would."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name
        self.daemon: Process | None = None
        self.programs = {program: official(program) for program in PROGRAMS}

    def start(self, trust: Path) -> None:
        """trust: the server's certificate or its authority's, as a file outside."""
        home = self.lab.directory / self.name
        (home / "trust.pem").write_bytes(trust.read_bytes())
        (home / SOCKET).parent.mkdir(exist_ok=True)
        arguments = ("--statedir", STATE, "--socket", f"/{SOCKET}", "--port", str(NODE_PORT), "--verbose", "1")
        self.daemon = self.run("tailscaled", "tailscaled", *arguments)
        until(self.status, START_LIMIT, f"tailscaled on {self.name}", self.daemon)

    def run(self, name: str, program: str, *words: str) -> Process:
        env = {"SSL_CERT_FILE": self.lab.inside_path("trust.pem"), **QUIET}
        return self.lab.start(self.name, name, [str(self.programs[program]), *words], env)

    def ask(self, name: str, *words: str, limit: float = UP_LIMIT) -> Process:
        """A `tailscale` command that has ended, well or not; `name` names its log."""
        asked = self.run(name, "tailscale", "--socket", f"/{SOCKET}", *words)
        asked.wait(limit)
        return asked

    def up(self, server: Joinable) -> float:
        """Log in; seconds until the command says that the machine is connected."""
        started = time.monotonic()
        answer(self.ask("up", "up", "--login-server", server.url, "--auth-key", server.auth_key), UP_LIMIT)
        return time.monotonic() - started

    @cached_property
    def address(self) -> str:
        return address_in(self.status() or {}, self.name, self.lab)

    def status(self) -> dict[str, Any] | None:
        return status_by_socket(self.lab.directory / self.name / SOCKET, "local-tailscaled.sock")

    def status_by_command(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(answer(self.ask("status", "status", "--json"), START_LIMIT))
        return found

    def way_to(self, address: str) -> Way:
        return way_in(self.status() or {}, address)
