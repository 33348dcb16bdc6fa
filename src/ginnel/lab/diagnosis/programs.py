"""The programs of the mesh under diagnosis: a server by name, and nodes whose clock may be wrong.

Room: lab.
"""

from __future__ import annotations

import json
from pathlib import Path

from ginnel.lab import LabError
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import NODE_PORT, SERVER
from ginnel.lab.members import DAEMON_SOCKET, START_LIMIT, UP_LIMIT, GinnelNode, Server, answer, program, surroundings
from ginnel.lab.processes import Process, until
from ginnel.shell.control.place import ADMIN_SOCKET

CONTROL_NAME = "control.example"


class NamedServer(Server):
    """The coordination server by a name, with a map of relays that run elsewhere."""

    def __init__(self, lab: Lab, more: str) -> None:
        """more: further settings, as TOML."""
        super().__init__(lab)
        self.url, self.more = f"https://{CONTROL_NAME}", more

    def settings(self) -> list[str]:
        extra = json.dumps([self.lab.inside_path("relays.json")])
        lines = ["[relays]", f"extra = {extra}", "remove = [900]", "spread = false", self.more]
        (self.lab.directory / SERVER / "server.toml").write_text("\n".join(lines) + "\n")
        return ["--config", self.lab.inside_path("server.toml"), "--quiet"]

    def answers(self) -> bool:
        """Clients and admins alike."""
        return super().answers() and (self.lab.directory / SERVER / "state" / ADMIN_SOCKET).exists()


class Member(GinnelNode):
    """A machine; `clock`: by how much its clock is off, in faketime's words."""

    def __init__(self, lab: Lab, name: str) -> None:
        super().__init__(lab, name)
        self.clock = ""
        self.commands = 0

    @property
    def env(self) -> dict[str, str]:
        return surroundings() | (off_by(self.clock) if self.clock else {})

    def start(self) -> None:
        argv = [
            *program("ginneld"),
            *(
                "--state",
                self.lab.inside_path("state"),
                "--socket",
                f"/{DAEMON_SOCKET}",
                "--port",
                str(NODE_PORT),
                "-v",
            ),
        ]
        self.daemon = self.lab.start(self.name, "ginneld", argv, self.env)
        until(self.status, START_LIMIT, f"ginneld on {self.name}", self.daemon)

    def ask(self, *words: str) -> Process:
        """One of our commands, that ends by itself."""
        self.commands += 1
        return self.lab.start(self.name, f"{words[0]}-{self.commands}", [*program("main"), *words], self.env)

    def up(self, invite: str) -> None:
        answer(self.ask("up", "--invite", invite), UP_LIMIT)

    @property
    def state(self) -> str:
        return str((self.status() or {}).get("BackendState", ""))


FAKETIME = "*/faketime/libfaketimeMT.so.1"  # below /usr/lib, in the architecture's directory


def off_by(clock: str) -> dict[str, str]:
    """Every clock of a program is off by as much, so timers go on as they were. The wall clock alone would be nearer to
    life, but then this library makes Python's threads wait for each other, for seconds. LabError where it is not
    there."""
    found = next(iter(Path("/usr/lib").glob(FAKETIME)), None)
    if found is None:
        raise LabError("libfaketime is not installed, and a wrong clock is made of it: apt-get install faketime")
    return {"LD_PRELOAD": str(found), "FAKETIME": clock}
