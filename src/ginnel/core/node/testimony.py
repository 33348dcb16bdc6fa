"""What this end knows of the way to one peer, in the words of wire/doctor.py: for `ginnel doctor` here and there.

Room: core. Pure. Nothing in it is secret from that peer: addresses and relays it is told anyway, the rest is about
itself. What only the shell knows (router, firewall) is added there.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import msgspec

from ginnel.core.node import peer_views
from ginnel.core.node.actions import FilterRow
from ginnel.core.node.addresses import is_private
from ginnel.core.node.filter import filter_rows
from ginnel.core.node.netcheck_report import Report
from ginnel.core.node.netmap import NetMap
from ginnel.core.node.own_network import OwnNetwork
from ginnel.core.node.path_actions import NEVER
from ginnel.core.node.path_history import PathHistory
from ginnel.core.node.path_state import Direct
from ginnel.core.node.paths import PathChooser
from ginnel.core.node.peers import Peer, PeerTable
from ginnel.core.node.relays import Relays
from ginnel.wire.doctor import ENDPOINTS, RELAYS, STEPS, WAYS, RelayTold, Step, Testimony, WayTold
from ginnel.words import Endpoint, Instant, IpAddress

TEXT = 300


def of_network(own: OwnNetwork, relays: Relays, peers: PeerTable, now: Instant) -> Testimony:
    """This end's network. `program`, `name`, `port_map`, `firewall` and `guessing` are left for those who know."""
    report = own.report or Report()
    return Testimony(
        udp=report.udp if own.report is not None else None,
        ipv4=report.ipv4,
        ipv6=report.ipv6,
        varies=own.mapping_varies,
        seen_v4=str(report.global_v4 or ""),
        seen_v6=str(report.global_v6 or ""),
        port=own.endpoints.port_v4,
        wanted_port=own.endpoints.configured_port,
        local=tuple(str(ip) for ip in sorted(own.endpoints.own_ips(), key=str))[:ENDPOINTS],
        told=tuple(str(endpoint) for endpoint, _ in own.list)[:ENDPOINTS],
        portal=report.captive_portal,
        home=relays.home,
        relays=_relays(relays, report),
        others_direct=sum(_is_far(peer, own, now) for peer in peers),
    )


def of_pair(network: Testimony, peer: Peer, own: OwnNetwork, netmap: NetMap, now: Instant) -> Testimony:
    """The same with the way to one peer."""
    path, history = peer.path, peer.path.history
    proven = path.path.proven if path.direct(now) and isinstance(path.path, Direct) else None
    return msgspec.structs.replace(
        network,
        others_direct=network.others_direct - _is_far(peer, own, now),
        policy=str(path.policy),
        direct=str(proven.endpoint) if proven is not None else "",
        latency=proven.latency if proven is not None else None,
        wire_mtu=proven.wire_mtu if proven is not None else 0,
        active=path.active(now),
        searching=now - path.searching_since if path.searching_since is not None else None,
        lets_in=lets_in(netmap, peer),
        sent_calls=history.sent_calls,
        heard_calls=history.heard_calls,
        handshake=_since(peer.last_handshake, now),
        heard=_since(path.last_received, now),
        ways=_ways(path, now),
        story=_story(history, now),
    )


def _relays(relays: Relays, report: Report) -> tuple[RelayTold, ...]:
    """Those that were looked at or dialed."""
    known = {*report.region_latency, *relays.connected(), *relays.problems, *([relays.home] if relays.home else [])}
    return tuple(
        RelayTold(
            region=region,
            connected=relays.up(region),
            latency=report.region_latency.get(region),
            problem=relays.problems.get(region, "")[:TEXT],
        )
        for region in sorted(known)[:RELAYS]
    )


def _is_far(peer: Peer, own: OwnNetwork, now: Instant) -> bool:
    """Whether UDP gets out of this network to that peer."""
    endpoint = peer.path.endpoint if peer.path.direct(now) else None
    return endpoint is not None and not is_private(endpoint.ip) and endpoint.ip not in own.endpoints.own_ips()


def _ways(path: PathChooser, now: Instant) -> tuple[WayTold, ...]:
    shunned = {endpoint: held.fault for endpoint, held in path.shunned.each(now)}
    tallies = dict(path.history.ways())
    every: dict[Endpoint, None] = dict.fromkeys([*tallies, *path.candidates, *shunned])
    told = []
    for endpoint in list(every)[-WAYS:]:
        tally = tallies.get(endpoint)
        told.append(
            WayTold(
                endpoint=str(endpoint),
                asked=tally.asked if tally else 0,
                answered=tally.answered if tally else 0,
                heard=tally.heard if tally else 0,
                latency=tally.latency if tally else None,
                shunned=str(shunned.get(endpoint, "")),
            )
        )
    return tuple(told)


def _story(history: PathHistory, now: Instant) -> tuple[Step, ...]:
    return tuple(
        Step(
            what=str(note.what),
            endpoint=str(note.endpoint or ""),
            since=max(0.0, now - note.first),
            ago=max(0.0, now - note.last),
            times=note.times,
            why=note.why[:TEXT],
        )
        for note in list(history.notes)[-STEPS:]
    )


def _since(at: Instant, now: Instant) -> float | None:
    return None if at == NEVER else max(0.0, now - at)


# --- the packet filter -----------------------------------------------------------------------------------------------


def lets_in(netmap: NetMap, peer: Peer) -> bool | None:
    """Whether any rule lets packets of the peer in to us; None: we have no map yet."""
    if netmap.self_node is None:
        return None
    theirs = [ip_address(text) for text in peer_views.addresses(peer.node)]
    ours = [ip_address(text) for text in peer_views.addresses(netmap.self_node)]
    return any(_matches(row, theirs, ours) for row in filter_rows(netmap.rules()))


def _matches(row: FilterRow, theirs: list[IpAddress], ours: list[IpAddress]) -> bool:
    sources, destinations, _ = row
    from_them = any(_within(ip, entry) for ip in theirs for entry in sources)
    return from_them and any(_within(ip, entry) for ip in ours for entry, _, _ in destinations)


def _within(ip: IpAddress, entry: str) -> bool:
    """entry: a prefix or a range, as rows have them."""
    first, dash, last = entry.partition("-")
    if dash:
        low, high = ip_address(first), ip_address(last)
        return ip.version == low.version and int(low) <= int(ip) <= int(high)
    network = ip_network(entry)
    return ip.version == network.version and ip in network
