"""One open port on the home router: found, held, renewed, found again after the router restarted, given back.

Room: core. Everything comes in by the methods below, with the time; what is to be done comes back as a list of
actions. No sockets, clocks, randomness or logs: entropy and a secret are constructor arguments. Transitions:

    Off --start--> Probing --a protocol answers--> Asking --granted--> Held --lost--> Resting --time, news--> Probing
                      ^  |                           |
                      |  +--nobody is left to ask--> | ---nobody is left to ask-----> Resting
                      +---------refused--------------+
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b

from ginnel.core.node.portmap import constants as c
from ginnel.core.node.portmap.actions import (
    Confirmed,
    Failed,
    FetchPortmap,
    Gateway,
    Granted,
    PortmapAction,
    PortMapped,
    Protocol,
    SendPortmap,
    Step,
)
from ginnel.core.node.portmap.by_natpmp import ByNatPmp
from ginnel.core.node.portmap.by_pcp import ByPcp
from ginnel.core.node.portmap.by_upnp import ByUpnp
from ginnel.core.node.portmap.judge import objection
from ginnel.core.node.portmap.services import Services, probe
from ginnel.core.node.portmap.states import Asking, Held, Off, Probing, Resting, State, Way
from ginnel.wire import natpmp, pcp, ssdp
from ginnel.wire.natpmp import NatPmpAnswer
from ginnel.wire.pcp import PcpAnswer
from ginnel.wire.read import WireError
from ginnel.words import Endpoint, Instant


class PortMapper:
    """See the module's docstring. `active`: traffic flows, so a lost mapping is worth noticing soon."""

    drops: Counter[str]
    """Answers dropped or refused, by reason, for example `portmap.wrong_source`."""

    def __init__(
        self,
        entropy: Callable[[int], bytes],
        secret: bytes,
        *,
        lifetime: int = c.LIFETIME,
        with_upnp: bool = True,
    ) -> None:
        """`secret`: of this machine, the same after a restart; PCP's nonces come from it."""
        self.drops = Counter()
        self.active = False
        self.problem = ""
        self.gateway: Gateway | None = None
        self.port = 0
        self.services = Services()
        self.state: State = Off()
        self._entropy = entropy
        self._secret = secret
        self._lifetime = lifetime
        self._with_upnp = with_upnp
        self._wish = 0
        self._tried: set[Protocol] = set()
        self._fruitless = 0
        self._told = PortMapped()

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
        return self._settle(list(_outward(steps)))

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
        if isinstance(self.state, Off) or not self._with_upnp:
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

    # --- steps -------------------------------------------------------------------------------------------------

    def _probe(self, now: Instant) -> list[PortmapAction]:
        self.state = Probing()
        self._tried.clear()
        return self._send_probes(now)

    def _send_probes(self, now: Instant) -> list[PortmapAction]:
        assert self.gateway is not None
        self.services.probe_began(now)
        return list(probe(self.gateway, with_upnp=self._with_upnp))

    def _heard(self, now: Instant) -> list[PortmapAction]:
        """A protocol is there. PCP need not wait for the others; the late ones are welcome after a fruitless probe."""
        match self.state:
            case Probing() if Protocol.PCP in self.services.offered():
                return self._choose(now)
            case Resting() if now - self.services.began < c.LATE_ANSWER:
                return self._choose(now)
        return []

    def _choose(self, now: Instant) -> list[PortmapAction]:
        """The best protocol that was not tried yet; none: wait for the probe's end, or rest."""
        untried = [protocol for protocol in self.services.offered() if protocol not in self._tried]
        if untried:
            self._tried.add(untried[0])
            way = self._make(untried[0])
            self.state = Asking(way)
            return self._follow(way.ask(self._wish, now), now)
        if isinstance(self.state, Resting):
            return []
        if not self.services.over:
            self.state = Probing()
            return []
        if not self._tried:
            self.problem = "the router speaks neither PCP nor NAT-PMP nor UPnP"
        return self._rest(now)

    def _make(self, protocol: Protocol) -> Way:
        assert self.gateway is not None
        match protocol:
            case Protocol.PCP:
                return ByPcp(self.gateway, self.port, self._lifetime, self._nonce(self.gateway))
            case Protocol.NATPMP:
                return ByNatPmp(self.gateway, self.port, self._lifetime)
            case Protocol.UPNP:
                where = self.services.locations()
                return ByUpnp(self.gateway, self.port, self._lifetime, where, self._entropy)

    def _nonce(self, gateway: Gateway) -> bytes:
        place = gateway.own.packed + gateway.address.packed + self.port.to_bytes(2, "big")
        return blake2b(place, key=self._secret[:64], digest_size=pcp.NONCE_SIZE).digest()

    def _rest(self, now: Instant) -> list[PortmapAction]:
        pause = c.RESTS[min(self._fruitless, len(c.RESTS) - 1)]
        self._fruitless += 1
        self.state = Resting(Instant(now + pause))
        return []

    def _check(self, held: Held, now: Instant) -> list[PortmapAction]:
        if held.busy:
            return []
        held.busy, held.checked_at = True, now
        return self._follow(held.way.check(held.granted, now), now)

    def _way(self) -> Way | None:
        return self.state.way if isinstance(self.state, Asking | Held) else None

    def _follow(self, steps: list[Step], now: Instant) -> list[PortmapAction]:
        actions = list(_outward(steps))
        for step in steps:
            match step:
                case Granted():
                    actions += self._granted(step, now)
                case Confirmed() if isinstance(self.state, Held):
                    self.state.busy = False
                case Failed(why):
                    actions += self._failed(why, now)
        return actions

    def _granted(self, granted: Granted, now: Instant) -> list[PortmapAction]:
        way = self._way()
        assert way is not None
        if (reason := objection(granted)) is not None:
            self.drops[f"portmap.{reason}"] += 1
            given_back = list(_outward(way.release(granted.port)))
            return [*given_back, *self._failed(f"what it grants is unusable ({reason.replace('_', ' ')})", now)]
        since = self.state.since if isinstance(self.state, Held) else now
        kept = Granted(granted.external, granted.port, min(granted.lifetime, self._lifetime))
        self.state = Held(way, kept, since=since, granted_at=now, checked_at=now)
        self._wish = granted.port
        self.problem = ""
        return []

    def _failed(self, why: str, now: Instant) -> list[PortmapAction]:
        """While asking, the next protocol has its turn. What was held and cannot be confirmed is held no more."""
        way = self._way()
        assert way is not None
        if isinstance(self.state, Asking):
            self.problem = f"the router grants no port by {way.protocol}" + (f": {why}" if why else "")
            return self._choose(now)
        if isinstance(self.state, Held) and now - self.state.since >= c.HELD_WELL:
            self._fruitless = 0
        self.problem = f"the router does not confirm the port any more ({way.protocol})" + (f": {why}" if why else "")
        return self._rest(now)

    # --- outward -----------------------------------------------------------------------------------------------

    def _drop(self, reason: str) -> list[PortmapAction]:
        self.drops[f"portmap.{reason}"] += 1
        return []

    def _settle(self, actions: list[PortmapAction]) -> list[PortmapAction]:
        """News for the mesh come last, and only news."""
        services = self.services
        told = PortMapped(
            self.state.external if isinstance(self.state, Held) else None,
            upnp=services.has(Protocol.UPNP) if self._with_upnp else None,
            pmp=services.has(Protocol.NATPMP),
            pcp=services.has(Protocol.PCP),
        )
        if told == self._told:
            return actions
        self._told = told
        return [*actions, told]


def _parse(packet: bytes) -> NatPmpAnswer | PcpAnswer:
    """By the version in the first byte. Raises WireError."""
    return pcp.parse_answer(packet) if packet[:1] == bytes((pcp.VERSION,)) else natpmp.parse_answer(packet)


def _outward(steps: list[Step]) -> Iterator[PortmapAction]:
    return (step for step in steps if isinstance(step, SendPortmap | FetchPortmap))
