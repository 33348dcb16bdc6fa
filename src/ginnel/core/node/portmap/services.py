"""Which protocols a router answers to, as far as its answers to probes tell.

Room: core.
"""

from __future__ import annotations

from ginnel.core.node.portmap.actions import Gateway, Protocol, SendPortmap
from ginnel.core.node.portmap.constants import LOCATIONS_KEPT, PROBE_TIME, SERVICE_TRUSTED
from ginnel.wire import natpmp, pcp, ssdp, upnp
from ginnel.wire.natpmp import NatPmpAnswer
from ginnel.wire.pcp import PcpAnswer
from ginnel.wire.read import WireError
from ginnel.wire.ssdp import SearchAnswer
from ginnel.words import Endpoint, Instant

NEVER = Instant(float("-inf"))
DEVICE = ":InternetGatewayDevice:"


def probe(gateway: Gateway, *, with_upnp: bool) -> list[SendPortmap]:
    """Ask by every protocol at once. SSDP goes to the gateway first, for a host whose firewall lets in answers only
    from whom it wrote to, and to the group, for devices that hear nothing else."""
    asked = Endpoint(gateway.address, natpmp.PORT)
    sends = [
        SendPortmap(asked, pcp.announce_request(gateway.own)),
        SendPortmap(asked, natpmp.address_request()),
    ]
    if with_upnp:
        group = Endpoint(ssdp.MULTICAST, ssdp.PORT)
        sends += [
            SendPortmap(Endpoint(gateway.address, ssdp.PORT), ssdp.search(ssdp.ALL)),
            SendPortmap(group, ssdp.search(ssdp.ALL)),
            SendPortmap(group, ssdp.search(ssdp.GATEWAY_DEVICE)),
        ]
    return sends


class Services:
    """Of one gateway. `over`: the probe has come to its end, so that silence says something."""

    def __init__(self, began: Instant = NEVER) -> None:
        self.began = began
        self.over = False
        self._seen: dict[Protocol, Instant] = {}
        self._locations: dict[tuple[int, str], str] = {}  # where a description is -> the device's version, of its USN

    def probe_began(self, now: Instant) -> None:
        """What answered before is still told for a while, but not relied on."""
        self.began = now
        self.over = False
        self._locations.clear()

    @property
    def ends_at(self) -> Instant:
        return Instant(self.began + PROBE_TIME)

    def answered(self, answer: NatPmpAnswer | PcpAnswer, now: Instant) -> bool:
        """Whether that says that port mapping can be had by its protocol. (A router that knows no PCP answers it in
        NAT-PMP's form, with an error.)"""
        if answer.result:
            return False
        self._seen[Protocol.PCP if isinstance(answer, PcpAnswer) else Protocol.NATPMP] = now
        return True

    def found(self, answer: SearchAnswer, now: Instant) -> bool:
        """Whether that is a router's description; other things in it (printers share boxes) are left out."""
        if DEVICE not in answer.usn and DEVICE not in answer.target:
            return False
        try:
            where = upnp.port_and_path(answer.location)
        except WireError:
            return False
        if where not in self._locations and len(self._locations) >= LOCATIONS_KEPT:
            return False
        self._locations[where] = max(self._locations.get(where, ""), answer.usn.rpartition(DEVICE)[2])
        self._seen[Protocol.UPNP] = now
        return True

    def has(self, protocol: Protocol) -> bool | None:
        """For people: the protocol answered, up to ten minutes before the last probe. None: not known yet."""
        if self._seen.get(protocol, NEVER) > self.began - SERVICE_TRUSTED:
            return True
        return False if self.over else None

    def offered(self) -> list[Protocol]:
        """Those that answered since the probe began. PCP first: its nonce keeps others' answers out; UPnP last: it
        takes TCP connections."""
        return [protocol for protocol in Protocol if self._seen.get(protocol, NEVER) >= self.began > NEVER]

    def locations(self) -> list[tuple[int, str]]:
        """The newer version of a device first."""
        return sorted(self._locations, key=lambda where: self._locations[where], reverse=True)
