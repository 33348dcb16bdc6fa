"""Which machines cannot meet by relay, for the admin, and another home for them where that is wanted.

Room: shell.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ginnel.core.control.derp_views import View
from ginnel.core.control.partitions import Partition, Partitions
from ginnel.core.control.reach import heard_of, measurable
from ginnel.core.control.records import Node
from ginnel.core.control.rehome import Rehome
from ginnel.shell.control.admin import Admin, Verb
from ginnel.shell.control.coordinator import Coordinator
from ginnel.shell.control.fleet import RelayFleet
from ginnel.shell.control.relay_answers import time_text
from ginnel.wire.tailcfg import MapRequest
from ginnel.words import NodeId

log = logging.getLogger("ginnel.control.partitions")
LOOK_EVERY = 5.0  # seconds, when a node has said something new; a look at 10,000 nodes takes some 0.1 s
LOOK_ANYWAY = 60.0  # since homes, the policy and who is online change as well
SHOWN_NODES = 100
COUNTED_FOR = 15.0  # seconds that numbers for Prometheus are good for


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


@dataclass(slots=True)
class PartitionDesk:
    """Hears each map request; `map_changed` at each change, `run` in a task."""

    coordinator: Coordinator
    fleet: RelayFleet
    may_rehome: bool
    core: Partitions = field(default_factory=Partitions)
    rehome: Rehome = field(default_factory=Rehome)
    _measured: dict[View, frozenset[int]] = field(default_factory=dict)
    _news: bool = False
    _told: frozenset[int] = frozenset()
    _numbers: tuple[float, dict[str, float]] | None = None

    def start(self) -> None:
        self.coordinator.heard = self._heard
        self.map_changed()

    def _heard(self, node: Node, request: MapRequest) -> None:
        heard = heard_of(request.hostinfo)
        if heard is not None and self.core.told(node.id, heard, self.coordinator.wall(), self._measured_by(node)):
            self._news = True
            self.coordinator.count("partitions.reports")

    def _measured_by(self, node: Node) -> frozenset[int]:
        """A region that its view of the map leaves out, or that is not to be its home, is missing without a reason."""
        views, user = self.fleet.map.views, self.coordinator.registry.users.get(node.user)
        view = views.view_of(node.tags, user.name if user is not None and not node.tags else "")
        if view not in self._measured:
            self._measured[view] = measurable(views.seen_by(view))
        move = self.rehome.moved.get(node.id)
        return self._measured[view] - (move.away if move is not None else frozenset())

    def map_changed(self, *_: object) -> None:
        self.core.regions = frozenset(self.fleet.map.views.given.regions or {})
        self._measured = {}

    def found(self) -> list[Partition]:
        registry, online = self.coordinator.registry, self.coordinator.presence.online
        self.core.keep(registry.nodes)
        homes = {n: registry.status[n].home for n in sorted(online) if n in registry.nodes and n in registry.status}
        return self.core.found(homes, self.coordinator.mapper.access.sees)

    async def run(self) -> None:
        waited = 0.0
        while True:
            await asyncio.sleep(LOOK_EVERY)
            waited += LOOK_EVERY
            if not self._news and waited < LOOK_ANYWAY:
                continue
            waited, self._news = 0.0, False
            try:
                self.look()
            except Exception:  # what nodes say must not end the server
                log.exception("partitions could not be looked at")

    def look(self) -> None:
        """News go into the log; nodes are given another home where the settings allow it."""
        if not (self.core.any or self._told or self.rehome.moved):
            return
        partitions = self.found()
        regions = frozenset(partition.region for partition in partitions if partition.pairs)
        for partition in partitions:
            if partition.region in regions - self._told:
                log.warning("%s; ginnel nodes partitions shows more", self._line(partition))
        self._told = regions
        if self.may_rehome:
            self._rehome(partitions)

    def _rehome(self, partitions: list[Partition]) -> None:
        given = self.fleet.map.views.given.regions or {}
        homes = frozenset(n for n, region in given.items() if region is not None and not region.no_measure_no_home)
        sees, core = self.coordinator.mapper.access.sees, self.core
        before = set(self.rehome.moved)
        if not self.rehome.decide(partitions, sees, core.latency, core.lost_to, homes, self.coordinator.now()):
            return
        for node in set(self.rehome.moved) - before:
            self.coordinator.count("partitions.moves")
            log.info("%s gets another home: peers do not reach this one", self._name(node))
        self.fleet.map.away = self.rehome.away
        self.fleet.refresh()

    # --- for the admin ---------------------------------------------------------------------------------------

    def verbs(self) -> Mapping[str, Verb]:
        async def partitions(admin: Admin, arguments: Nothing, actor: str) -> Any:  # noqa: ARG001
            return [self._json(partition) for partition in self.found()]

        return {"nodes.partitions": (Nothing, partitions)}

    def _line(self, partition: Partition) -> str:
        nodes = ", ".join(self._name(lost.node) for lost in partition.lost[:3])
        more = f" and {len(partition.lost) - 3} more" if len(partition.lost) > 3 else ""
        return f"relay region {self._region(partition.region)} is not reached by {nodes}{more}: {partition.pairs} pairs"

    def _json(self, partition: Partition) -> dict[str, Any]:
        return {
            "region": partition.region,
            "region_code": self._code(partition.region),
            "cause": self._cause(partition),
            "since": time_text(partition.since),
            "nodes": [
                {"id": lost.node, "name": self._name(lost.node), "since": time_text(lost.since),
                 "evidence": "its own word" if lost.says else "missing from its reports"}
                for lost in partition.lost[:SHOWN_NODES]
            ],
            "nodes_total": len(partition.lost),
            "homed": len(partition.homed),
            "reached_by": partition.reached_by,
            "pairs": partition.pairs,
            "pairs_counted": partition.counted,
            "examples": [
                {"from": self._name(pair.sender), "to": self._name(pair.receiver), "both_ways": pair.both}
                for pair in partition.examples
            ],
            "moved": [self._name(n) for n, move in self.rehome.moved.items() if partition.region in move.away],
        }  # fmt: skip

    def _cause(self, partition: Partition) -> str:
        """Where to look: at these nodes' networks, or at the relay."""
        if not partition.reached_by and len(partition.lost) > 1:
            return "no node is known to reach it: look at the relay (ginnel relay probe)"
        if not any(lost.says for lost in partition.lost):
            return "it is missing from these nodes' reports: a firewall before them may block it (UDP 3478 at least)"
        return "a firewall before these nodes blocks it (TCP 443): ginnel firewall verify there shows how"

    def _name(self, node: NodeId) -> str:
        found = self.coordinator.registry.nodes.get(node)
        return found.label if found is not None else str(node)

    def _code(self, number: int) -> str:
        region = (self.fleet.map.full.regions or {}).get(number)
        return region.region_code if region is not None else ""

    def _region(self, number: int) -> str:
        return f"{number} ({self._code(number)})"

    def gauges(self) -> dict[str, float]:
        now = self.coordinator.now()
        if self._numbers is None or now - self._numbers[0] > COUNTED_FOR:
            found = self.found() if self.core.any else []
            counted = {
                "partitions.regions": len(found),
                "partitions.nodes": len({lost.node for partition in found for lost in partition.lost}),
                "partitions.pairs": sum(partition.pairs for partition in found),
                "partitions.moved": len(self.rehome.moved),
            }
            self._numbers = now, {name: float(number) for name, number in counted.items()}
        return self._numbers[1]
