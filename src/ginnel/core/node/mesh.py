"""One mesh member's whole data-plane brain: peers and their paths, own endpoints, net checks, relays.

Room: core. Everything comes in by the methods below, with the time; what is to be done comes back as a list of
actions. No sockets, clocks, randomness or logs: entropy is a constructor argument.

Driving it: call `tick(now)` whenever `next_timeout()` has come, and after each batch of inputs; perform the actions
in their order. Every input is cheap for peers that are silent. The parts are joined in mesh_parts.py.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

import msgspec

from ginnel.core.node import peer_views, testimony
from ginnel.core.node.actions import Action, HealthCode, PingFailed
from ginnel.core.node.constants import PING_TIMEOUT, UDP_REBIND_GAP
from ginnel.core.node.discovery import Arrival
from ginnel.core.node.endpoints import LocalAddress
from ginnel.core.node.home_region import NO_REGION
from ginnel.core.node.mesh_parts import MeshParts
from ginnel.core.node.netcheck import ENOUGH_REGIONS
from ginnel.core.node.netmap import MapChange, NetMap
from ginnel.core.node.path_actions import NEVER
from ginnel.core.node.path_policy import PathPolicies, PathPolicy
from ginnel.core.node.portmap.actions import PortMapped
from ginnel.core.node.punch_rules import probing_allowed
from ginnel.core.node.status import MeshStatus, PeerStatus, mesh_status, peer_status
from ginnel.wire.doctor import Testimony
from ginnel.words import Endpoint, Instant, IpAddress, NodeKey, NodePrivate, RegionId

NO_WAY = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL)
REFUSED = (errno.EPERM, errno.EACCES)
DEAD_SOCKET = (errno.EPIPE, errno.EBADF, errno.ENOTCONN)
DIALS_UNTIL_TOLD = 2  # failed dials of home before people hear of it


class Mesh(MeshParts):
    """See the module's docstring. All inputs return the actions that follow from them."""

    # --- what the server says ---

    def set_node_key(self, key: NodePrivate, now: Instant) -> list[Action]:
        """The node key in use from now on. A change means another pump: it is told everything anew."""
        public = key.public()
        if public == self._discovery.own_key:
            return []
        first, self._discovery.own_key = self._discovery.own_key is None, public
        self._puncher.own_key = public
        actions = self._relays.key_set(now)
        if not first:
            for peer in self._peers:
                self._discovery.forget(peer.key)
                actions += self._punch(self._puncher.forget(peer.key), now)
            actions += self._apply(self._peers.told_again(now), now)
            actions += self._tell_rules()
        return self._settle([*actions, *self._own.check(now)], now)

    def map_changed(self, netmap: NetMap, change: MapChange, now: Instant) -> list[Action]:
        """A frame was merged: `netmap, change = apply_frame(netmap, frame, wall)` (netmap.py)."""
        self._netmap = netmap
        actions = self._apply(self._peers.map_changed(change, now), now)
        if change.self_node:
            own = netmap.self_node
            self._discovery.own_addresses = peer_views.addresses(own) if own is not None else ()
            actions += [*self._tell_addresses(), *self._own.policy_changed(netmap.self_node)]
            self._puncher.allowed = probing_allowed(netmap.self_node)
        if change.filters:
            actions += self._tell_filter()
        if change.derp_map:
            actions += self._own.map_changed(netmap.derp_map, now)
        return self._settle(actions, now)

    def control_changed(self, connected: bool, now: Instant) -> list[Action]:
        """The map stream came up or went down: without it the home region stays as it is (peers would not learn)."""
        self._own.control_connected = connected
        return self._settle([], now)

    def path_policies_changed(self, policies: PathPolicies, now: Instant) -> list[Action]:
        """What the user allows for the ways to peers, at the start and whenever it changes."""
        return self._settle(self._apply(self._peers.policies_changed(policies, now), now), now)

    # --- the machine underneath ---

    def interfaces_changed(self, addresses: Sequence[LocalAddress], now: Instant) -> list[Action]:
        """All addresses of this machine, whenever they changed. Loopback and the tailnet's own are left out here."""
        self._own.endpoints.interfaces_changed(addresses)
        return self._settle(self._own.check(now), now)

    def port_bound(self, v4: int, v6: int, configured: int, now: Instant) -> list[Action]:
        """The tunnel's sockets are bound to these ports (0: no such family); `configured` is the user's wish, 0: any.
        Comes at the start, and after each `Rebind`."""
        self._configured_port = configured
        self._own.endpoints.port_bound(v4, v6, configured)
        problem = None if v4 else "the UDP port for IPv4 could not be bound; traffic goes by relays"
        actions = self._health(HealthCode.NO_UDP4_BIND, problem)
        return self._settle([*actions, *self._own.restart_check(now)], now)

    def port_mapped(self, news: PortMapped, now: Instant) -> list[Action]:
        """What the home router forwards, and which protocols for that it speaks: see portmap/mapper.py."""
        return self._settle(self._own.port_mapped(news, now), now)

    @property
    def port_map_believed(self) -> bool:
        return self._own.endpoints.believed_port_map() is not None

    def is_active(self, now: Instant) -> bool:
        """Whether traffic went out in the last 45 s."""
        return self._own.is_active(now)

    def metered_changed(self, metered: bool) -> None:
        """Whether the way out is paid for by the byte: then no ports are guessed to get through NATs."""
        self._puncher.metered = metered

    def link_changed(self, major: bool, now: Instant) -> list[Action]:
        """Major: the default route moved or a sleep of ten minutes ended; sockets are bound anew, paths proven anew.
        Minor: own addresses may differ."""
        if not major:
            return self._settle(self._own.check(now), now)
        self._own.forget_mappings()
        self._discovery.endpoints_at = NEVER  # nobody is called to where we were
        actions = [*self._rebind(now), *self._relays.links_moved(now), *self._punch(self._puncher.moved(), now)]
        for peer in self._peers:
            actions += self._discovery.perform(peer, peer.path.moved(now), now)
        return self._settle([*actions, *self._own.restart_check(now)], now)

    def resolved(self, host: str, addresses: Sequence[IpAddress], now: Instant) -> list[Action]:
        """The answer to `Resolve`; empty: it failed."""
        self._names.resolved(host, addresses, now)
        return self._settle([*self._relays.resolved(now), *self._own.resolved(now)], now)

    # --- packets ---

    def disco_received(self, source: Endpoint, packet: bytes, now: Instant, socket: int = 0) -> list[Action]:
        """A disco datagram came by UDP, to the tunnel's own socket or to the side socket of that number."""
        if socket and not self._puncher.holds(socket):
            self.drops["disco.closed_socket"] += 1
            return []
        self._puncher.heard(socket, now)
        return self._settle(self._discovery.received(Arrival(source, socket=socket), packet, now), now)

    def relayed_disco_received(self, region: RegionId, source: NodeKey, packet: bytes, now: Instant) -> list[Action]:
        """A disco packet came by a relay."""
        actions: list[Action] = []
        if (peer := self._peers.get(source)) is not None:
            actions += self._heard(peer, region, now)
        return self._settle([*actions, *self._discovery.received(Arrival(region, source), packet, now)], now)

    def sides_opened(self, request: int, sockets: Sequence[tuple[int, int]], now: Instant) -> list[Action]:
        """The answer to `OpenSides`: number and local port of each side socket that could be had."""
        return self._settle(self._punch(self._puncher.opened(request, sockets, now), now), now)

    def stun_received(self, source: Endpoint, packet: bytes, now: Instant, socket: int = 0) -> list[Action]:
        """A datagram that looks like a STUN answer, to the tunnel's own socket or to the side socket of that number."""
        if socket:
            punched = self._puncher.stun_received(source, socket, packet, now)
            actions = self._punch(punched, now) if punched is not None else None
        else:
            actions = self._own.stun_received(source, packet, now)
        if actions is None:
            self.drops["stun.unasked"] += 1
        return self._settle(actions or [], now)

    # --- what the pump notices ---

    def sent(self, key: NodeKey, now: Instant) -> list[Action]:
        """The tunnel sent for this peer: the first time after 0.5 s of silence, then each half second."""
        peer = self._peers.get(key)
        if peer is None or peer.node.is_wire_guard_only:
            return []
        self._own.active(now)
        actions = self._discovery.perform(peer, peer.path.sent(now), now)
        if region := peer.path.relay_in_use:
            self._relays.wrote(region, now)
        return self._settle(actions, now)

    def received(self, key: NodeKey, by: Endpoint | RegionId, now: Instant) -> list[Action]:
        """Authentic data came from this peer by that endpoint or relay; as seldom as `sent`."""
        peer = self._peers.get(key)
        if peer is None:
            return []
        direct = by if isinstance(by, Endpoint) else None
        actions = [] if isinstance(by, Endpoint) else self._heard(peer, by, now)
        if not peer.node.is_wire_guard_only:
            actions += self._discovery.perform(peer, peer.path.received(direct, now), now)
        return self._settle(actions, now)

    def handshake(self, key: NodeKey, now: Instant) -> list[Action]:
        """A new WireGuard session stands."""
        if (peer := self._peers.get(key)) is not None:
            peer.last_handshake = now
        return self._settle([], now)

    def unsendable(self, to: Endpoint, error: int, now: Instant, socket: int = 0) -> list[Action]:
        """A UDP send failed: there is no way, a firewall of this machine refused it, the packet is too large for its
        link, or the socket is dead."""
        self._own.unsendable(to)
        actions: list[Action] = []
        if (peer := self._discovery.peer_at(to)) is not None and peer.path.socket == socket:
            if error in NO_WAY:
                actions += self._discovery.perform(peer, peer.path.unsendable(to, now), now)
            elif error in REFUSED:
                actions += self._discovery.perform(peer, peer.path.refused(to, now), now)
            elif error == errno.EMSGSIZE:
                actions += self._discovery.perform(peer, peer.path.too_large(to, now), now)
        if error in DEAD_SOCKET and now - self._rebound_at >= UDP_REBIND_GAP:
            actions += self._rebind(now)
        return self._settle(actions, now)

    # --- relays ---

    def relay_wanted(self, region: RegionId, now: Instant) -> list[Action]:
        """A packet waits for a region that is not connected."""
        return self._settle(self._relays.wanted(region, now), now)

    def relay_up(self, region: RegionId, now: Instant) -> list[Action]:
        """Logged in."""
        self._relays.went_up(region)
        self._discovery.relay_came_up(region, now)
        actions = self._health(HealthCode.NO_DERP_CONNECTION, None) if region == self._relays.home else []
        return self._settle([*actions, *self._forget_problem(region), *self._reroute_all(region, now)], now)

    def relay_down(self, region: RegionId, why: str, now: Instant, *, silent: bool = False) -> list[Action]:
        """The connection ended, or could not be made; `silent`: nothing came any more. A check follows
        while home is away: another may be better."""
        self._relays.went_down(region, why, now, silent=silent)
        actions = [*self._forget_problem(region), *self._reroute_all(region, now)]
        actions += self._discovery.relay_failed(region, now)
        if region == self._relays.home:
            self._own.home_lost(now)
        if region == self._relays.home and self._relays.failures(region) >= DIALS_UNTIL_TOLD:
            text = f"the relay {self._relays.code(region)!r} cannot be reached: {why}; trying again"
            actions += [*self._health(HealthCode.NO_DERP_CONNECTION, text), *self._own.check(now)]
        return self._settle(actions, now)

    def called_by_server(self, key: NodeKey, now: Instant) -> list[Action]:
        """The server says that this peer looks for us, and cannot tell us by relay."""
        return self._settle(self._discovery.called_by_server(key, now), now)

    def relay_stayed(self, region: RegionId, now: Instant) -> list[Action]:
        """A `RelayMove` failed; the connection that was there carries on."""
        return self._settle(self._relays.stayed(region, now), now)

    def relay_gone(self, region: RegionId, key: NodeKey, reason: int, now: Instant) -> list[Action]:
        """The relay says that the peer is not connected there: only the way back by that relay is forgotten."""
        peer = self._peers.get(key)
        self.drops[f"relay.gone_{reason}"] += 1
        if peer is None or peer.heard_by != region:
            return []
        peer.heard_by = NO_REGION
        return self._settle(self._reroute(peer, now), now)

    def relay_health(self, region: RegionId, problem: str, now: Instant) -> list[Action]:
        """The relay says that it has a problem; "": no more."""
        if not problem:
            return self._settle(self._forget_problem(region), now)
        self._ailing = region
        text = f"the relay {self._relays.code(region)!r} reports: {problem[:200]}"
        return self._settle(self._health(HealthCode.DERP_PROBLEM, text), now)

    def _forget_problem(self, region: RegionId) -> list[Action]:
        """It is over, or was said on a connection that is no more."""
        return self._health(HealthCode.DERP_PROBLEM, None) if region == self._ailing else []

    def relay_restarting(self, region: RegionId, reconnect_in: float, now: Instant) -> list[Action]:
        """The relay will restart: seconds until to reconnect. How long to try before the usual pauses, which it says
        too, needs no rule of its own: those begin short enough."""
        self._relays.restarting(region, reconnect_in, now)
        return self._settle([], now)

    # --- what people ask ---

    def ping_requested(self, request: int, key: NodeKey, size: int, now: Instant) -> list[Action]:
        """`ginnel ping`: by every way at once while no direct one is trusted. Ends in `PingAnswered` (once, the
        first pong) or `PingFailed`. `size`: of the whole UDP payload, 0: as small as can be."""
        peer = self._peers.get(key)
        if peer is None or peer.disco is None:
            reason = "no such peer in the map" if peer is None else "the peer has not come up yet (no disco key)"
            return [PingFailed(request, key, reason)]
        actions = self._discovery.ask(request, peer, size, now)
        if not peer.path.trusted(now):
            self._own.active(now)
            actions += self._discovery.perform(peer, peer.path.sent(now), now)
        self._questions.set(request, Instant(now + PING_TIMEOUT))
        return self._settle(actions, now)

    def netcheck_requested(
        self, request: int, now: Instant, *, full: bool = True, enough: int = ENOUGH_REGIONS
    ) -> list[Action]:
        """`ginnel netcheck`: ends in `NetcheckDone` within 5 s. `enough`: regions whose answers end the check."""
        return self._settle(self._own.requested(request, now, full=full, enough=enough), now)

    def latency_measured(
        self, region: RegionId, seconds: float | None, now: Instant, *, version: int = 0
    ) -> list[Action]:
        """The answer to `MeasureHttps`, over that version of IP (0: nobody knows); None: it failed."""
        return self._settle(self._own.latency_measured(region, seconds, now, version=version), now)

    def icmp_measured(self, region: RegionId, seconds: float | None, now: Instant) -> list[Action]:
        """The answer to `MeasureIcmp`; None: it failed."""
        return self._settle(self._own.icmp_measured(region, seconds, now), now)

    def port80_answered(self, number: int, answer: bytes, now: Instant) -> list[Action]:
        """The answer to `AskPort80`; b"": there was none."""
        return self._settle(self._own.port80_answered(number, answer, now), now)

    # --- time and views ---

    def tick(self, now: Instant) -> list[Action]:
        """Whatever is due."""
        actions = [*self._discovery.lost_pings(now), *self._own.tick(now), *self._relays.tick(now)]
        actions += self._punch(self._puncher.tick(now), now)
        for key in self._deadlines.pop_due(now):
            if (peer := self._peers.get(key)) is not None:
                actions += self._discovery.perform(peer, peer.path.tick(now), now)
        for request in self._questions.pop_due(now):
            if (asked := self._discovery.give_up(request)) is not None:
                actions.append(PingFailed(request, asked, self._why_no_pong(asked)))
        return self._settle(actions, now)

    def _why_no_pong(self, key: NodeKey) -> str:
        peer = self._peers.get(key)
        if peer is not None and peer.path.policy is PathPolicy.DIRECT:
            return "no direct path was found, and `ginnel path` forbids relays for this peer"
        return "timed out"

    def next_timeout(self) -> Instant | None:
        """When to call `tick` next; None: nothing is planned."""
        times = (
            self._deadlines.next(),
            self._questions.next(),
            self._discovery.open_pings.next_timeout(),
            self._own.next_timeout(),
            self._relays.next_timeout(),
            self._puncher.next_timeout(),
        )
        return min((at for at in times if at is not None), default=None)

    def status(self, now: Instant) -> MeshStatus:
        """A view of everything, for `ginnel status`."""
        return mesh_status(self._relays, self._own, self._peers, now)

    def peer_status(self, key: NodeKey, now: Instant) -> PeerStatus | None:
        """One peer's view; None: not in the map."""
        peer = self._peers.get(key)
        return peer_status(peer, self._relays, now) if peer is not None else None

    def testimony(self, key: NodeKey | None, now: Instant) -> Testimony | None:
        """What this end knows of its network and of the way to one peer, for `ginnel doctor`; None: not in the map."""
        known = testimony.of_network(self._own, self._relays, self._peers, now)
        known = msgspec.structs.replace(known, guessing=self._puncher.allowed and not self._puncher.metered)
        if key is None:
            return known
        peer = self._peers.get(key)
        if peer is None:
            return None
        told = testimony.of_pair(known, peer, self._own, self._netmap, now)
        own, theirs, ended = self._puncher.seen(key)
        return msgspec.structs.replace(told, nat=own.name.lower(), peer_nat=theirs.name.lower(), search_ended=ended)
