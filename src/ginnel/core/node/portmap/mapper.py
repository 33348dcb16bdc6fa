"""One open port on the home router: found, held, renewed, found again after the router restarted, given back.

Room: core. Everything comes in by the methods below, with the time; what is to be done comes back as a list of
actions. No sockets, clocks, randomness or logs: entropy and a secret are constructor arguments. Transitions:

    Off --start--> Probing --a protocol answers--> Asking --granted--> Held --lost--> Resting --time, news--> Probing
                      ^  |                           |
                      |  +--nobody is left to ask--> | ---nobody is left to ask-----> Resting
                      +---------refused--------------+
"""

from __future__ import annotations

from ginnel.core.node.portmap import constants as c
from ginnel.core.node.portmap.actions import Gateway, PortmapAction, Step
from ginnel.core.node.portmap.by_natpmp import ByNatPmp
from ginnel.core.node.portmap.by_pcp import ByPcp
from ginnel.core.node.portmap.by_upnp import ByUpnp
from ginnel.core.node.portmap.mapper_steps import MapperSteps, outward
from ginnel.core.node.portmap.services import Services
from ginnel.core.node.portmap.states import Asking, Held, Off, Probing, Resting
from ginnel.wire import natpmp, pcp, ssdp
from ginnel.wire.natpmp import NatPmpAnswer
from ginnel.wire.pcp import PcpAnswer
from ginnel.wire.read import WireError
from ginnel.words import Endpoint, Instant


class PortMapper(MapperSteps):
    """See the module's docstring. `active`: traffic flows, so a lost mapping is worth noticing soon."""

    @property
    def settled(self) -> bool:
        """Nothing is under way."""
        if isinstance(self.state, Held):
            return not self.state.busy and self.services.over
        return isinstance(self.state, Off | Resting)

    # --- inputs ------------------------------------------------------------------------------------------------

    def start(self, gateway: Gateway, port: int, now: Instant) -> list[PortmapAction]:
        """Map this UDP port of ours at this gateway, until `stop`."""
        if gateway != self.gateway:
            self._wish = 0
        self.gateway, self.port = gateway, port
        self.services = Services()
        self._fruitless = 0
        return self._settle(self._probe(now))

    def stop(self) -> list[PortmapAction]:
        """Give the mapping back, as far as one packet can, and be off."""
        steps: list[Step] = []
        if isinstance(self.state, Held):
            steps = self.state.way.release(self.state.granted.port)
        self.state = Off()
        self.services = Services()
        self.problem = ""
        return self._settle(list(outward(steps)))

    def look(self, now: Instant) -> list[PortmapAction]:
        """Somebody wants to know, or the network moved: probe anew, and look whether what is held still stands."""
        if isinstance(self.state, Resting):
            self._fruitless = 0
            return self._settle(self._probe(now))
        if isinstance(self.state, Held):
            return self._settle([*self._send_probes(now), *self._check(self.state, now)])
        return []

    def received(self, source: Endpoint, packet: bytes, now: Instant) -> list[PortmapAction]:
        """A datagram for the socket that asks port 5351 of the gateway."""
        if self.gateway is None or source != Endpoint(self.gateway.address, natpmp.PORT):
            return self._drop("wrong_source")
        try:
            answer = _parse(packet)
        except WireError:
            return self._drop("malformed")
        if isinstance(self.state, Off):
            return self._drop("unasked")
        news = self.services.answered(answer, now)
        steps = self._answer(answer, now)
        if steps is not None:
            return self._settle(self._follow(steps, now))
        if isinstance(answer, natpmp.MapAnswer) or (isinstance(answer, PcpAnswer) and answer.operation == pcp.MAP):
            return self._drop("unasked")
        return self._settle(self._heard(now) if news else [])

    def _answer(self, answer: NatPmpAnswer | PcpAnswer, now: Instant) -> list[Step] | None:
        match self._way(), answer:
            case ByPcp() as way, PcpAnswer():
                return way.received(answer)
            case ByNatPmp() as way, natpmp.AddressAnswer() | natpmp.MapAnswer():
                return way.received(answer, now)
        return None

    def found(self, source: Endpoint, packet: bytes, now: Instant) -> list[PortmapAction]:
        """An answer to the search for UPnP devices. Its port is the device's own choice; its address is not."""
        if self.gateway is None or source.ip != self.gateway.address:
            return self._drop("wrong_source")
        try:
            answer = ssdp.parse_search_answer(packet)
        except WireError:
            return self._drop("malformed")
        if isinstance(self.state, Off) or not self.with_upnp:
            return self._drop("unasked")
        if not self.services.found(answer, now):
            return self._drop("no_router")
        return self._settle(self._heard(now))

    def announced(self, source: Endpoint, packet: bytes, now: Instant) -> list[PortmapAction]:
        """A router says to all that it restarted, or has another address (RFC 6886 §3.2.1, RFC 6887 §14.1.3). Whoever
        is on the link can say so: it is a reason to look, no more, and not too often."""
        if self.gateway is None or source.ip != self.gateway.address:
            return self._drop("wrong_source")
        try:
            _parse(packet)
        except WireError:
            return self._drop("malformed")
        match self.state:
            case Held(checked_at=at) if now - at >= c.CHECK_GAP:
                return self._settle(self._check(self.state, now))
            case Resting() if now - self.services.began >= c.PROBE_GAP:
                return self._settle(self._probe(now))
        return []

    def fetched(self, number: int, status: int, body: bytes, now: Instant) -> list[PortmapAction]:
        """The answer to `FetchPortmap`; status 0: there was none."""
        way = self._way()
        steps = way.fetched(number, status, body) if isinstance(way, ByUpnp) else None
        return self._settle(self._follow(steps, now)) if steps is not None else []

    # --- time --------------------------------------------------------------------------------------------------

    def next_timeout(self) -> Instant | None:
        if isinstance(self.state, Off):
            return None
        times = [self._state_timeout(), None if self.services.over else self.services.ends_at]
        return min((at for at in times if at is not None), default=None)

    def _state_timeout(self) -> Instant | None:
        match self.state:
            case Resting(until):
                return until
            case Asking(way) | Held(way, busy=True):
                return way.next_timeout()
            case Held() as held:
                return min(held.renew_at, held.check_at(active=self.active))
        return None

    def tick(self, now: Instant) -> list[PortmapAction]:
        """Whatever is due."""
        actions: list[PortmapAction] = []
        if not isinstance(self.state, Off) and not self.services.over and self.services.ends_at <= now:
            self.services.over = True
            if isinstance(self.state, Probing):
                actions += self._choose(now)
        at = self._state_timeout()
        if at is not None and at <= now:
            actions += self._due(now)
        return self._settle(actions)

    def _due(self, now: Instant) -> list[PortmapAction]:
        match self.state:
            case Resting():
                return self._probe(now)
            case Held(busy=False) as held if held.renew_at <= now:
                held.busy, held.checked_at = True, now
                return self._follow(held.way.ask(held.granted.port, now), now)
            case Held(busy=False) as held:
                return self._check(held, now)
            case Asking(way) | Held(way):
                return self._follow(way.tick(now), now)
        return []


def _parse(packet: bytes) -> NatPmpAnswer | PcpAnswer:
    """By the version in the first byte. Raises WireError."""
    return pcp.parse_answer(packet) if packet[:1] == bytes((pcp.VERSION,)) else natpmp.parse_answer(packet)
