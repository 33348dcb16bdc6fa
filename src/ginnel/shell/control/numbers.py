"""The server's numbers for Prometheus: its own counters, its machines, the fleet, the relays' names, the logs.

Room: shell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from starlette.applications import Starlette

from ginnel.core.control.fleet_states import NAMES
from ginnel.shell.control.beside import RelayBeside
from ginnel.shell.control.coordinator import Coordinator
from ginnel.shell.control.fleet import RelayFleet
from ginnel.shell.control.logsink import LogHost
from ginnel.shell.metrics import exposition
from ginnel.shell.metrics_door import listening, metrics_route
from ginnel.shell.relaydns.service import RelayDns

PREFIX = "ginnel_server"


class Counted(Protocol):
    """A part of the server with numbers of its own."""

    def gauges(self) -> dict[str, float]: ...


@dataclass(frozen=True, slots=True)
class ServerNumbers:
    coordinator: Coordinator
    fleet: RelayFleet
    relay_dns: Callable[[], RelayDns | None]
    log_host: LogHost | None
    more: Sequence[Counted] = ()

    def text(self) -> Callable[[], bytes]:
        return exposition(PREFIX, self.counters, self.gauges)

    def counters(self) -> dict[str, float]:
        found: dict[str, float] = dict(self.coordinator.counters)
        names = self.relay_dns()
        if names is not None:
            found |= {f"relay_dns.{name}": number for name, number in names.counters.items()}
        if self.log_host is not None:
            found |= {f"logs.{name}": number for name, number in self.log_host.taken.items()}
            found |= {f"logs.refused.{name}": number for name, number in self.log_host.refused.items()}
        return found

    def gauges(self) -> dict[str, float]:
        book, core = self.fleet.book, self.fleet.core
        states = Counter(type(core.state(relay)) for relay in book.relays)
        lives = [self.fleet.live_now(relay) for relay in book.relays.values()]
        found: dict[str, float] = {
            "nodes": len(self.coordinator.registry.nodes),
            "nodes.connected": len(self.coordinator.mapper.streams),
            **{f"relays.{name}": states[kind] for kind, name in NAMES.items()},
            "relays.clients": sum(live.clients for live in lives),
            "relays.mesh_links": sum(live.mesh_links for live in lives),
            "relays.own_network_suspected": core.suspected,
        }
        for part in self.more:
            found |= part.gauges()
        if self.log_host is not None:
            found |= {"logs.bytes": self.log_host.used, "logs.full": bool(self.log_host.problem)}
        return found


def serving(
    numbers: ServerNumbers, relay: RelayBeside | None, host: str, port: int
) -> AbstractAsyncContextManager[int]:
    """Beside the relay's own, where there is one. Gives the port; entering raises OSError."""
    besides = [numbers.text()]
    if relay is not None:
        return relay.numbers(host, port, besides)
    return listening(Starlette(routes=[metrics_route(besides)]), host, port)
