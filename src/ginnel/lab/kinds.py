"""The kinds of network a machine can sit in: how each is built, and what a probe must find before it is trusted.

Room: lab. A kind is a word, with what was changed on it after a plus: `hard-random+open-port`, `easy+hairpin`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal

from ginnel.lab import LabError
from ginnel.lab.topology import CORE, INTERNET, Host, Opened, Router, Topology

NODE_PORT = 41641
SERVER = "server"
Mapping = Literal["none", "endpoint-independent", "address-dependent", "address-and-port-dependent"]
Filtering = Literal["endpoint-independent", "address-dependent", "address-and-port-dependent"]
Ports = Literal["kept", "sequential", "random"]


@dataclass(frozen=True, slots=True)
class Traits:
    """What a network does, in RFC 4787's terms; None where the question makes no sense or nothing could be learnt.

    udp: UDP gets out and answers come back. hairpin: a host reaches its neighbour by the outside address.
    early_probe_steals_port: an unsolicited packet makes the later mapping towards its sender another one.
    open_port: UDP 41641 of the outside address comes in from anybody. other_tcp: TCP to a port that is not 443 or 80.
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
    routers: int | None = 2  # hops that a packet to the core crosses, the internet's own included

    def differences(self, seen: Traits) -> list[str]:
        """What this claims and `seen` denies, a line each."""
        pairs = ((f.name, getattr(self, f.name), getattr(seen, f.name)) for f in fields(self))
        return [f"{name}: want {want}, saw {saw}" for name, want, saw in pairs if want != saw]


@dataclass(frozen=True, slots=True)
class Site:
    """What stands between one host and the internet."""

    routers: tuple[Router, ...]
    host: Host


@dataclass(frozen=True, slots=True)
class Kind:
    about: str
    traits: Traits
    build: Callable[[str], Site]


def behind(nat: str) -> Callable[[str], Site]:
    return lambda name: Site((Router(f"nat-{name}", nat),), Host(name, on=f"nat-{name}"))


def behind_two(name: str) -> Site:
    carrier = Router(f"isp-{name}", "easy", carrier=True)
    return Site((carrier, Router(f"nat-{name}", "easy", uplink=carrier.name)), Host(name, on=f"nat-{name}"))


BLOCKED = Traits(udp=False, early_probe_steals_port=None, open_port=None, routers=None)
EASY = Traits(mapping="endpoint-independent", ports="kept", filtering="address-and-port-dependent", hairpin=False)
HARD = replace(EASY, mapping="address-and-port-dependent", ports="random", early_probe_steals_port=None)
PUBLIC = Traits(mapping="none", ports="kept", filtering="endpoint-independent", open_port=True, routers=1)

KINDS: dict[str, Kind] = {
    "none": Kind("a public address, nothing filtered", PUBLIC, lambda name: Site((), Host(name, on=INTERNET))),
    "host-firewall-default-deny": Kind(
        "a public address, a firewall on the host that lets in only answers",
        replace(PUBLIC, filtering="address-and-port-dependent", open_port=False),
        lambda name: Site((), Host(name, on=INTERNET, default_deny=True)),
    ),
    "easy": Kind("a home router: one mapping for all destinations, answers only from them", EASY, behind("easy")),
    "easy-bare": Kind(
        "masquerade alone, as hosts of virtual machines have it: an early probe takes the mapping's port",
        replace(EASY, early_probe_steals_port=True),
        behind("easy-bare"),
    ),
    "easy-address-dependent": Kind(
        "easy, and any port of an address once spoken to may answer",
        replace(EASY, filtering="address-dependent"),
        behind("easy-address-dependent"),
    ),
    "full-cone": Kind(
        "easy, and anybody may come in by a mapping that stands",
        replace(EASY, filtering="endpoint-independent"),
        behind("full-cone"),
    ),
    "hard-random": Kind("a random outside port for each destination", HARD, behind("hard-random")),
    "hard-sequential": Kind(
        "the next outside port for each destination", replace(HARD, ports="sequential"), behind("hard-sequential")
    ),
    "double-nat": Kind("a home router behind a carrier's NAT", replace(EASY, routers=3), behind_two),
    "udp-blocked": Kind("a home router that drops all UDP", BLOCKED, behind("udp-blocked")),
    "443-only": Kind("only TCP to 443 and 80 gets out", replace(BLOCKED, other_tcp=False), behind("443-only")),
}


def with_hairpin(kind: Kind) -> Kind:
    def build(name: str) -> Site:
        site = kind.build(name)
        return replace(site, routers=(*site.routers[:-1], replace(site.routers[-1], hairpin=True)))

    return Kind(f"{kind.about}; hairpin", replace(kind.traits, hairpin=True), build)


def with_open_port(kind: Kind) -> Kind:
    def build(name: str) -> Site:
        site = kind.build(name)
        opened = replace(site.routers[-1], opened=(Opened(NODE_PORT, name),))
        return replace(site, routers=(*site.routers[:-1], opened))

    return Kind(f"{kind.about}; UDP {NODE_PORT} forwarded", replace(kind.traits, open_port=True), build)


CHANGES: dict[str, Callable[[Kind], Kind]] = {"hairpin": with_hairpin, "open-port": with_open_port}
CAN_CHANGE = ("easy", "easy-bare", "easy-address-dependent", "full-cone", "hard-random", "hard-sequential")


def kind_named(words: str) -> Kind:
    """`easy`, `easy+hairpin`, `hard-random+open-port`. LabError names what there is."""
    name, *changes = words.split("+")
    if name not in KINDS:
        raise LabError(f"no such kind of network: {name}; there are {', '.join(KINDS)}")
    kind = KINDS[name]
    for change in changes:
        if change not in CHANGES or name not in CAN_CHANGE:
            raise LabError(f"{name} cannot have +{change}; a NAT can have +{' or +'.join(CHANGES)}")
        kind = CHANGES[change](kind)
    return kind


def network(**kinds: str) -> Topology:
    """A server in the core, and hosts by name, each behind a kind: `network(alice="easy", bob="hard-random")`."""
    sites = [kind_named(kind).build(name) for name, kind in kinds.items()]
    routers = tuple(router for site in sites for router in site.routers)
    return Topology(routers, (Host(SERVER, on=CORE), *(site.host for site in sites)))


def meet(a: Traits, b: Traits) -> Literal["direct", "relay"]:
    """What a pair should come to, by reasoning: direct where one side lets in the other's real mapping.

    A side can be aimed at when its mapping is the same for all destinations or its port is opened; it lets the other
    in by its filter, which a ping to the other's advertised endpoint has opened.
    """
    if not (a.udp and b.udp):
        return "relay"
    return "direct" if lets_in(a, b) or lets_in(b, a) else "relay"


def lets_in(side: Traits, other: Traits) -> bool:
    if side.open_port:
        return True
    if not one_mapping(side):
        return False
    return side.filtering != "address-and-port-dependent" or one_mapping(other)


def one_mapping(side: Traits) -> bool:
    return side.mapping in ("none", "endpoint-independent")
