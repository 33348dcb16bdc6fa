"""What relays ask inside a control connection, and what the connection needs of the fleet to answer.

Room: shell.
"""

from __future__ import annotations

from typing import Protocol

from ginnel.shell.control.coordinator_doors import Sink
from ginnel.shell.control.fleet_links import StreamLink
from ginnel.shell.control.logins import Failure
from ginnel.wire.relaycontrol import RelayHello, RelayReport, RelayWelcome
from ginnel.words import MachineKey

PREFIX = "/machine/relay/"


class RelayDoor(Protocol):
    """The fleet, as far as a relay's connection sees it."""

    def knows(self, machine: MachineKey) -> bool: ...
    async def register(self, machine: MachineKey, hello: RelayHello) -> RelayWelcome: ...
    async def report(self, machine: MachineKey, report: RelayReport) -> RelayWelcome: ...
    def open(self, machine: MachineKey, sink: Sink) -> StreamLink | Failure:
        """The first orders are written to the sink before this returns."""

    def close(self, link: StreamLink) -> None: ...
