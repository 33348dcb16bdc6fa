"""A coordination server in a few lines: who is there, who may talk to whom, and each change told to everybody.

Room: testing. The nodes merge its frames by their own core (core/node/netmap.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ginnel.core.node.actions import ReportToControl
from ginnel.core.node.punch_rules import NO_PROBING
from ginnel.testing.clock import VirtualClock
from ginnel.wire.tailcfg import DERPMap, FilterRule, MapResponse, NetPortRange, Node, PeerChange, PortRange
from ginnel.words import DiscoKey

if TYPE_CHECKING:
    from ginnel.testing.node import SimNode

GATHERING = 0.005  # changes that come this close go out as one frame, as the server does it
GATHERING_FOR_A_NODE = 0.0005  # a busy server gathers for longer
ALLOW_ALL = FilterRule(src_ips=["*"], dst_ports=[NetPortRange(ip="*")])
OPEN_PORTS = PortRange(first=1024, last=65535)


class Control:
    """`leg`: seconds from a node to the server; whom a change concerns hears of it two of these later. `denied`:
    (source, destination) by number: nothing of that source comes in there, except answers."""

    def __init__(self, clock: VirtualClock, derp_map: DERPMap, *, leg: float) -> None:
        self.leg = leg
        self.away = False
        self.denied: set[tuple[int, int]] = set()
        self.low_ports_closed: set[int] = set()
        self.probing_forbidden: set[int] = set()
        self.nodes: dict[int, SimNode] = {}
        self.by_address: dict[str, SimNode] = {}
        self._clock = clock
        self._derp_map = derp_map
        self._known: dict[int, Node] = {}
        self._news: list[MapResponse] = []
        self._flush_planned = False
        self._waiting: dict[int, ReportToControl] = {}  # reports that could not be sent

    # --- what nodes send ---

    def join(self, node: SimNode, disco: DiscoKey) -> None:
        """A process logs in: its map comes after a round trip; the others hear of it at the same time."""
        before = self._known.get(node.number)
        entry = Node(
            id=node.number,
            stable_id=f"n{node.number}",
            name=f"{node.name}.tail.example.",
            user=1,
            key=node.public,
            addresses=[f"{node.address}/32"],
            disco_key=disco,
            home_derp=before.home_derp if before is not None else 0,
            endpoints=before.endpoints if before is not None else None,
            hostinfo={"IPNVersion": "0.1.0-ginnel" if node.punches else "1.98.9"},
        )
        self._known[node.number] = entry
        self.nodes[node.number] = node
        if before is None:
            self._name_in_filters()
        node.later(2 * self.leg, self.whole_map, node)
        self._tell(
            MapResponse(peers_changed=[entry])
            if before is None
            else MapResponse(peers_changed_patch=[patch(node.number, disco_key=disco)])
        )

    def reported(self, node: SimNode, report: ReportToControl) -> None:
        """A lite update: first the home region to everybody, right behind it the endpoints."""
        if node.number not in self._known:
            return
        if self.away:
            self._waiting[node.number] = report
            return
        endpoints = [str(endpoint) for endpoint in report.endpoints]
        home = report.net_info.preferred_derp
        entry = self._known[node.number]
        self._known[node.number] = msgspec.structs.replace(entry, home_derp=home, endpoints=endpoints)
        if entry.home_derp != home:
            self._tell(MapResponse(peers_changed_patch=[patch(node.number, derp_region=home)]))
        self._tell(MapResponse(peers_changed_patch=[patch(node.number, endpoints=endpoints)]))

    # --- what the administrator does ---

    def deny(self, source: SimNode, to: SimNode) -> None:
        self.denied.add((source.number, to.number))
        self._tell_filter(to)

    def allow(self, source: SimNode, to: SimNode) -> None:
        self.denied.discard((source.number, to.number))
        self._tell_filter(to)

    def close_low_ports(self, to: SimNode) -> None:
        """Only ports from 1024 on are open there."""
        self.low_ports_closed.add(to.number)
        self._tell_filter(to)

    def forbid_probing(self, node: SimNode) -> None:
        """It shall guess no ports to get through NATs."""
        self.probing_forbidden.add(node.number)
        if not self.away and node.number in self._known:
            node.later(self.leg, node.frame, MapResponse(node=self._own(node)))

    def _own(self, node: SimNode) -> Node:
        """Its own entry."""
        attributes: dict[str, list[Any] | None] = {NO_PROBING: None} if node.number in self.probing_forbidden else {}
        return msgspec.structs.replace(self._known[node.number], cap_map=attributes)

    def permits(self, source: SimNode, to: SimNode, port: int) -> bool:
        """What the policy says now, whoever has heard of it."""
        low = to.number in self.low_ports_closed and port < OPEN_PORTS.first
        return (source.number, to.number) not in self.denied and not low

    def _name_in_filters(self) -> None:
        """Filters that name their sources must name the new node."""
        for number in sorted({to for _, to in self.denied} | self.low_ports_closed):
            if number in self.nodes:
                self._tell_filter(self.nodes[number])

    def _tell_filter(self, to: SimNode) -> None:
        if not self.away and to.number in self.nodes:
            frame = MapResponse(packet_filters={"base": self.rules(to)})
            to.later(self.leg, to.frame, frame)

    def rules(self, to: SimNode) -> list[FilterRule]:
        refused = {source for source, there in self.denied if there == to.number}
        if not refused and to.number not in self.low_ports_closed:
            return [ALLOW_ALL]
        ports = OPEN_PORTS if to.number in self.low_ports_closed else PortRange()
        sources = [node.address for number, node in self.nodes.items() if number not in refused]
        return [FilterRule(src_ips=sources, dst_ports=[NetPortRange(ip=to.address, ports=ports)])] if sources else []

    def remove(self, node: SimNode) -> None:
        """It is no member any more."""
        del self.nodes[node.number], self._known[node.number]
        self._waiting.pop(node.number, None)
        self._tell(MapResponse(peers_removed=[node.number]))

    # --- what befalls it ---

    def go_away(self) -> None:
        """Streams end, reports wait."""
        self.away = True
        for node in self.nodes.values():
            node.later(self.leg, node.control_gone)

    def come_back(self) -> None:
        """Everybody opens a new stream and gets the whole map."""
        self.away = False
        for node in self.nodes.values():
            node.later(2 * self.leg, self.whole_map, node)
        waiting, self._waiting = self._waiting, {}
        for number, report in waiting.items():
            self.nodes[number].later(self.leg, self.reported, self.nodes[number], report)

    # --- what it sends ---

    def whole_map(self, node: SimNode) -> None:
        if self.away:
            return
        peers = [peer for number, peer in self._known.items() if number != node.number]
        node.first_frame(
            MapResponse(
                node=self._own(node),
                derp_map=self._derp_map,
                peers=peers or None,
                packet_filters={"base": self.rules(node)},
            )
        )

    def _tell(self, frame: MapResponse) -> None:
        if self.away:
            return  # the whole map says it later
        self._news.append(frame)
        if not self._flush_planned:
            self._flush_planned = True
            self._clock.after(GATHERING + GATHERING_FOR_A_NODE * len(self.nodes), self._flush)

    def _flush(self) -> None:
        """To each node what is not about itself; the order of the news stays."""
        news, self._news, self._flush_planned = self._news, [], False
        about = {number for frame in news for number in _numbers(frame)}
        whole = _joined(news)
        for number, node in self.nodes.items():
            frames = whole if number not in about else _joined([f for f in news if number not in _numbers(f)])
            for frame in frames:
                node.later(2 * self.leg, node.frame, frame)


def _numbers(frame: MapResponse) -> set[int]:
    """A frame of news is about one node."""
    changed = {entry.id for entry in frame.peers_changed or ()}
    changed |= set(frame.peers_removed or ())
    return changed | {each.node_id for each in frame.peers_changed_patch or ()}


def _joined(news: Sequence[MapResponse]) -> list[MapResponse]:
    """New peers, then home regions, then all else, then who left: four frames for however many news."""
    removed = [number for frame in news for number in frame.peers_removed or ()]
    added = [entry for frame in news for entry in frame.peers_changed or ()]
    patches = [each for frame in news for each in frame.peers_changed_patch or ()]
    homes = [each for each in patches if each.derp_region]
    others = [each for each in patches if not each.derp_region]
    return [
        *([MapResponse(peers_changed=added)] if added else []),
        *([MapResponse(peers_changed_patch=homes)] if homes else []),
        *([MapResponse(peers_changed_patch=others)] if others else []),
        *([MapResponse(peers_removed=removed)] if removed else []),
    ]


def without_versions(frame: MapResponse) -> MapResponse:
    """As an official client takes it, which does not look whether a peer is one as well."""
    peers = {
        name: [msgspec.structs.replace(peer, hostinfo={}) for peer in held]
        for name in ("peers", "peers_changed")
        if (held := getattr(frame, name))
    }
    return msgspec.structs.replace(frame, **peers)


def patch(number: int, **members: object) -> PeerChange:
    return msgspec.structs.replace(PeerChange(node_id=number), **members)
