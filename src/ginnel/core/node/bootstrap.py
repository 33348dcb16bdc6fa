"""Finding hosts where DNS fails: which relays of the last map are asked for a name, and what of their answers counts.

Room: core. Source: tailscale: net/dnsfallback/dnsfallback.go. What a relay says is believed no more than DNS is: it is
an address to dial, and whoever answers there has to prove who it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ginnel.core.firewall.checked import is_public
from ginnel.core.node.control_url import is_private
from ginnel.core.node.names import Names, verify_of
from ginnel.wire.tailcfg import DERPMap, DERPNode
from ginnel.words import Endpoint, Instant, IpAddress

RELAYS_AT_ONCE = 2
RELAYS_ASKED = 6
"""At one attempt to find a host; the next attempt goes on with others."""
ANSWER_TIME = 3.0
START = Instant(0.0)

Kept = Mapping[str, Sequence[IpAddress]]
"""The addresses that hosts had."""


@dataclass(frozen=True, slots=True)
class BootstrapRelay:
    """One that may know a name, and how it is dialled; `verify` as in names.py."""

    name: str
    host: str
    addresses: tuple[Endpoint, ...]
    verify: str


class BootstrapRelays:
    """All relays of a map in random order, some at each attempt."""

    def __init__(self, shuffle: Callable[[list[BootstrapRelay]], None]) -> None:
        self._shuffle = shuffle
        self._relays: list[BootstrapRelay] = []
        self._waiting: list[BootstrapRelay] = []

    def map_changed(self, derp_map: DERPMap | None, kept: Kept) -> None:
        relays = list(_relays(derp_map, kept))
        if relays != self._relays:
            self._relays, self._waiting = relays, []

    def __bool__(self) -> bool:
        return bool(self._relays)

    def draw(self) -> list[BootstrapRelay]:
        """Who is asked now."""
        if not self._waiting:
            self._waiting = list(self._relays)
            self._shuffle(self._waiting)
        drawn, self._waiting = self._waiting[:RELAYS_ASKED], self._waiting[RELAYS_ASKED:]
        return drawn


def _relays(derp_map: DERPMap | None, kept: Kept) -> Iterable[BootstrapRelay]:
    """Those whose certificate can be judged, and whose address takes no DNS."""
    regions = (derp_map.regions or {}).values() if derp_map is not None else ()
    for node in (node for region in regions if region is not None for node in region.nodes or []):
        addresses, verify = _addresses(node, kept), verify_of(node)
        if addresses and not node.stun_only and verify != "insecure":
            yield BootstrapRelay(node.name, node.host_name, addresses, verify)


def _addresses(node: DERPNode, kept: Kept) -> tuple[Endpoint, ...]:
    names = Names()
    for wanted in names.lookups(node, START):
        names.resolved(wanted.host, kept.get(wanted.host, ()), START)
    return names.derp_addresses(node)


def believed(found: Iterable[IpAddress], known: Iterable[IpAddress]) -> tuple[IpAddress, ...]:
    """What of a relay's answer may be dialled: public addresses, and such as the host was known to have when DNS
    answered; else a relay could send us to any machine of the network that we are in."""
    kinds = {_kind(ip) for ip in known}
    return tuple(dict.fromkeys(ip for ip in found if is_public(ip) or _kind(ip) in kinds))


def _kind(address: IpAddress) -> object:
    """What is neither loopback nor private is of no kind but its own."""
    if address.is_loopback:
        return "loopback"
    return "private" if is_private(str(address)) else address
