"""What a port mapper does between two inputs: probe, choose, ask, hold, rest.

Room: core. The inputs themselves, and how the states follow each other, are in mapper.py.
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
from ginnel.wire import pcp
from ginnel.words import Instant


class MapperSteps:
    """What PortMapper (mapper.py) holds."""

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
        self.with_upnp = with_upnp
        self._wish = 0
        self._tried: set[Protocol] = set()
        self._fruitless = 0
        self._told = PortMapped()

    # --- steps -------------------------------------------------------------------------------------------------

    def _probe(self, now: Instant) -> list[PortmapAction]:
        self.state = Probing()
        self._tried.clear()
        return self._send_probes(now)

    def _send_probes(self, now: Instant) -> list[PortmapAction]:
        assert self.gateway is not None
        self.services.probe_began(now)
        return list(probe(self.gateway, with_upnp=self.with_upnp))

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
        actions = list(outward(steps))
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
            given_back = list(outward(way.release(granted.port)))
            return [*given_back, *self._failed(f"what it grants is unusable ({reason.replace('_', ' ')})", now)]
        since = self.state.since if isinstance(self.state, Held) else now
        kept = Granted(granted.external, granted.port, min(granted.lifetime, self._lifetime))
        self.state = Held(way, kept, since=since, granted_at=now, checked_at=now)
        self._wish = granted.port
        self.problem = ""
        return []

    def _failed(self, why: str, now: Instant) -> list[PortmapAction]:
        """While asking, the next protocol has its turn. What was held and cannot be confirmed is held no more; after a
        good while of holding, the router may be there again with other protocols, or its UPnP on another port."""
        way = self._way()
        assert way is not None
        if isinstance(self.state, Asking):
            self.problem = f"the router grants no port by {way.protocol}" + (f": {why}" if why else "")
            return self._choose(now)
        self.problem = f"the router does not confirm the port any more ({way.protocol})" + (f": {why}" if why else "")
        if isinstance(self.state, Held) and now - self.state.since >= c.HELD_WELL:
            self._fruitless = 0
            return self._probe(now)
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
            upnp=services.has(Protocol.UPNP) if self.with_upnp else None,
            pmp=services.has(Protocol.NATPMP),
            pcp=services.has(Protocol.PCP),
        )
        if told == self._told:
            return actions
        self._told = told
        return [*actions, told]


def outward(steps: list[Step]) -> Iterator[PortmapAction]:
    return (step for step in steps if isinstance(step, SendPortmap | FetchPortmap))
