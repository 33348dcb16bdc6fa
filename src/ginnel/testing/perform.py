"""What a core asks for, done in the simulated world: to the pump's tables, to relays, to the coordination server.

Room: testing. The daemon's engine does the same with the real ones (shell/node/engine.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ginnel.core.node import actions as act
from ginnel.testing.relay import ESTABLISHED_IN
from ginnel.words import RegionId

if TYPE_CHECKING:
    from ginnel.testing.node import SimNode


def perform(node: SimNode, action: act.Action) -> None:
    match action:
        case act.SendUdp(to, packet, socket, ttl):
            node.send_udp(to, packet, socket, ttl)
        case act.SendRelay(region, to, packet):
            node.send_relay(region, to, packet)
        case act.Steer(peer, endpoint, region, socket):
            node.world.watch.steered(node, peer, endpoint, region, socket)
            node.world.watch.sides.left(node, node.pump.socket_of(peer))
            node.pump.steer(peer, endpoint, region, socket)
        case act.SetPeer(peer, allowed):
            node.pump.set_peer(peer, allowed)
        case act.ResetPeer(peer):
            node.pump.reset_peer(peer)
        case act.AskInside(peer):
            node.pump.ask_inside(peer)
        case act.RemovePeer(peer):
            node.pump.remove_peer(peer)
        case act.SetFilter(rows):
            node.pump.set_filter(rows)
        case act.SetAddresses(prefixes):
            node.pump.set_addresses(prefixes)
        case act.CloseSides(sockets):
            node.sides.close(sockets)
        case act.PingAnswered() | act.PingFailed():
            node.pings.append(action)
        case act.NetcheckDone():
            node.netchecks.append(action)
        case act.Health(code, text):
            node.health.pop(code, None)
            if text is not None:
                node.health[code] = text
        case _:
            _ask_outside(node, action)


def _ask_outside(node: SimNode, action: act.Action) -> None:
    relays, control = node.world.relays, node.world.control
    match action:
        case act.RelayOpen(region):
            relays.dial(node, region)
        case act.RelayMove(region):
            relays.move(node, region)
        case act.RelayClose(region):
            node.open_relays.discard(region)
        case act.ReportToControl():
            node.reports.append(action)
            node.later(control.leg, control.reported, node, action)
        case act.MeasureHttps(region):
            way = relays.way(node, region)
            seconds = 2 * way if relays.reachable(node, region) else None
            node.later(ESTABLISHED_IN * way, _measured, node, region, seconds)
        case act.MeasureIcmp(region):
            node.later(2 * relays.way(node, region), _echoed, node, region)
        case act.AskPort80(number):
            node.later(relays.leg, _port80_refused, node, number)
        case act.OpenSides(request, count):
            node.later(0.0, _open_sides, node, request, count)
        case act.Rebind(port):
            node.rebind(port)
        case _:
            pass  # relay preferences change nothing here


def _open_sides(node: SimNode, request: int, count: int) -> None:
    """A machine that fell asleep meanwhile opens none."""
    if not node.host.asleep:
        node.input(node.mesh.sides_opened, request, node.sides.open(count))


def _measured(node: SimNode, region: RegionId, seconds: float | None) -> None:
    node.input(node.mesh.latency_measured, region, seconds)


def _echoed(node: SimNode, region: RegionId) -> None:
    """Routers answer pings even where UDP is blocked."""
    node.input(node.mesh.icmp_measured, region, 2 * node.world.relays.way(node, region))


def _port80_refused(node: SimNode, number: int) -> None:
    """No relay of the simulation listens there."""
    node.input(node.mesh.port80_answered, number, b"")
