"""What a network does to the packets of its hosts, in RFC 4787's terms: what a kind claims, and what a probe finds.

Room: lab.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

Mapping = Literal["none", "endpoint-independent", "address-dependent", "address-and-port-dependent"]
Filtering = Literal["endpoint-independent", "address-dependent", "address-and-port-dependent"]
Ports = Literal["kept", "sequential", "random"]


@dataclass(frozen=True, slots=True)
class Traits:
    """None where the question makes no sense or nothing could be learnt.

    udp: UDP gets out and answers come back. hairpin: a host reaches its neighbour by the outside address.
    early_probe_steals_port: an unsolicited packet makes the later mapping towards its sender another one.
    open_port: UDP 41641 of the outside address comes in from anybody. other_tcp: TCP to a port that is not 443 or 80.
    maps_by: by which protocol a host can have a port forwarded, from anybody. same_lan: it has a neighbour that is
    reached without a router. v6: who may answer by IPv6, whose addresses nobody translates; None without it.
    """

    udp: bool | None = True
    mapping: Mapping | None = None
    ports: Ports | None = None
    filtering: Filtering | None = None
    hairpin: bool | None = None
    early_probe_steals_port: bool | None = False
    open_port: bool | None = False
    tcp_443: bool | None = True
    other_tcp: bool | None = True
    routers: int | None = 3  # hops that a packet to the core crosses, two of the internet's own included
    maps_by: str | None = None
    same_lan: bool = False
    v6: Filtering | None = None

    def differences(self, seen: Traits) -> list[str]:
        """What this claims and `seen` denies, a line each."""
        pairs = ((f.name, getattr(self, f.name), getattr(seen, f.name)) for f in fields(self))
        return [f"{name}: want {want}, saw {saw}" for name, want, saw in pairs if want != saw]


SILENT = Traits(udp=False, early_probe_steals_port=None, open_port=None, routers=None)  # no UDP: nothing to be learnt
NO_V4 = Traits(udp=None, early_probe_steals_port=None, open_port=None, tcp_443=None, other_tcp=None, routers=None)
