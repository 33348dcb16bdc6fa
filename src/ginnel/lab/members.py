"""The programs on a lab's hosts: our server and our node, started as a person would start them.

Room: lab.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any, Protocol

from ginnel.lab import LabError
from ginnel.lab import report as words
from ginnel.lab.instance import SERVER_NAME, Lab
from ginnel.lab.kinds import NODE_PORT, SERVER
from ginnel.lab.processes import Process, until
from ginnel.words import NodeKey

SOURCES = Path(__file__).parents[2]
START_LIMIT = 20.0
UP_LIMIT = 30.0
ASK_LIMIT = 2.0
DAEMON_SOCKET = "run/ginnel/ginneld.sock"  # below the host's directory


def program(module: str) -> list[str]:
    """A command of ours by the interpreter that runs now: the same code, whether or not it is installed."""
    return [sys.executable, "-c", f"from ginnel.cli.{module} import main; main()"]


def surroundings() -> dict[str, str]:
    inherited = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{SOURCES}:{inherited}" if inherited else str(SOURCES)}


def ginnel(lab: Lab, host: str, name: str, *words: str) -> Process:
    return lab.start(host, name, [*program("main"), *words], surroundings())


def answer(process: Process, limit: float) -> str:
    """The standard output of a command that ends by itself; LabError with its last words when it fails."""
    if process.wait(limit):
        raise LabError(f"{process.name} ended with status {process.ended()}: {process.last_words()}")
    return process.said_now()


@dataclass(frozen=True, slots=True)
class Way:
    """How a node reaches a peer just now."""

    path: words.Path
    endpoint: str = ""
    region: str = ""


class Node(Protocol):
    """A member that runs."""

    name: str

    @property
    def address(self) -> str: ...
    def way_to(self, address: str) -> Way: ...


class Server:
    """`ginnel server run` with its embedded relay, on the core's public address."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.url = f"https://{SERVER_NAME if lab.topology.has_v6 else lab.addresses[SERVER]}"
        self.process: Process | None = None

    def start(self) -> None:
        """Returns when it answers on 443, and its admin's commands too."""
        words = ["--state", self.state, "--url", self.url, *self.settings()]
        self.process = ginnel(self.lab, SERVER, "server", "server", "run", *words)
        until(lambda: self.answers() or None, START_LIMIT, f"the server at {self.url}", self.process)

    def settings(self) -> list[str]:
        """Clients that know a relay by name dial the addresses that the DERP map has."""
        if not self.lab.topology.has_v6:
            return []
        addresses = json.dumps(self.lab.server_addresses)
        (self.lab.directory / SERVER / "server.toml").write_text(f"[relay]\naddresses = {addresses}\n")
        return ["--config", self.lab.inside_path("server.toml")]

    @property
    def state(self) -> str:
        return self.lab.inside_path("state")

    def restart(self) -> None:
        """As a person would: the old process ends, then a new one takes over its state."""
        if self.process is not None:
            self.process.stop()
        self.start()

    def answers(self) -> bool:
        """The relay's door opens before the server behind it does."""
        with socket(AF_UNIX, SOCK_STREAM) as admin, self.lab.spaces[SERVER].call(socket) as probe:
            probe.settimeout(ASK_LIMIT)
            admin.settimeout(ASK_LIMIT)
            return (
                admin.connect_ex(str(self.lab.directory / SERVER / "state" / "admin.sock")) == 0
                and probe.connect_ex((self.lab.addresses[SERVER], 443)) == 0
            )

    @cached_property
    def invite(self) -> str:
        """A reusable one: URL, the server's Noise key and an auth key in a word."""
        return self.ask("invite", "server", "invite", "--reusable")

    @cached_property
    def auth_key(self) -> str:
        """A reusable one, for clients that know no invites."""
        return self.ask("preauthkeys", "preauthkeys", "create", "--user", "default", "--reusable")

    def online(self, addresses: list[str]) -> bool:
        """Whether the server counts each of these machines as connected now."""
        nodes = json.loads(self.ask("nodes", "nodes", "list", "--json"))
        connected = {address for node in nodes if node["online"] for address in node["ip_addresses"]}
        return connected >= set(addresses)

    def ask(self, name: str, *words: str) -> str:
        """An admin's command on the server's own machine; what it prints."""
        return answer(ginnel(self.lab, SERVER, name, *words, "--state", self.state), START_LIMIT).strip()


class GinnelNode:
    """`ginneld` and the `ginnel` that talks to it."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name
        self.daemon: Process | None = None

    def start(self) -> None:
        socket_path = f"/{DAEMON_SOCKET}"
        argv = [
            *program("ginneld"),
            *("--state", self.lab.inside_path("state"), "--socket", socket_path, "--port", str(NODE_PORT)),
        ]
        self.daemon = self.lab.start(self.name, "ginneld", argv, surroundings())
        until(self.status, START_LIMIT, f"ginneld on {self.name}", self.daemon)

    def up(self, invite: str) -> None:
        answer(ginnel(self.lab, self.name, "up", "up", "--invite", invite), UP_LIMIT)

    @cached_property
    def address(self) -> str:
        return address_in(self.status() or {}, self.name, self.lab)

    @cached_property
    def public_key(self) -> NodeKey:
        return NodeKey.parse(str((self.status() or {})["Self"]["PublicKey"]))

    def status(self) -> dict[str, Any] | None:
        """What `ginnel status --json` prints; None while the daemon does not answer."""
        return status_by_socket(self.lab.directory / self.name / DAEMON_SOCKET, "local-ginneld.sock")

    def status_by_command(self) -> dict[str, Any]:
        asked = ginnel(self.lab, self.name, "status", "status", "--json")
        found: dict[str, Any] = json.loads(answer(asked, START_LIMIT))
        return found

    def way_to(self, address: str) -> Way:
        return way_in(self.status() or {}, address)


def status_by_socket(path: Path, host: str) -> dict[str, Any] | None:
    """`/localapi/v0/status` of a daemon, ours or Tailscale's; None when there is no answer."""
    connection = HTTPConnection(host, timeout=ASK_LIMIT)
    try:
        connection.sock = socket(AF_UNIX, SOCK_STREAM)
        connection.sock.settimeout(ASK_LIMIT)
        connection.sock.connect(str(path))
        connection.request("GET", "/localapi/v0/status")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return found


def address_in(status: dict[str, Any], name: str, lab: Lab) -> str:
    """The first mesh address of the host's daemon; LabError where it has none."""
    addresses = status.get("TailscaleIPs") or []
    if not addresses:
        raise LabError(f"{name} has no mesh address; look at {lab.directory / name / 'logs'}")
    return str(addresses[0])


def way_in(status: dict[str, Any], address: str) -> Way:
    """A peer's row of a status: a current address means direct, else what is active goes by its relay."""
    for peer in (status.get("Peer") or {}).values():
        if address in (peer.get("TailscaleIPs") or []):
            if peer.get("CurAddr"):
                return Way("direct", str(peer["CurAddr"]))
            return Way("relay", region=str(peer.get("Relay", ""))) if peer.get("Active") else Way("none")
    return Way("none")
