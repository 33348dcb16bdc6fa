"""The kinds of network a machine can sit in: how each is built, and what a probe must find before it is trusted.

Room: lab. A kind is a word, with what was changed on it after a plus: `hard-random+open-port`, `easy+hairpin`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ginnel.lab import LabError
from ginnel.lab.topology import CORE, INTERNET, Family, Host, MappingProtocol, Opened, Router, Topology
from ginnel.lab.traits import NO_V4, SILENT, Filtering, Traits

NODE_PORT = 41641
SERVER = "server"  # by this name a host is the coordination server


@dataclass(frozen=True, slots=True)
class Site:
    """What stands between one host and the internet; sites that name the same router or neighbour share it."""

    routers: tuple[Router, ...]
    host: Host
    neighbours: tuple[Host, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """short: for hosts' names, where a kind's own would not fit."""

    short: str
    about: str
    traits: Traits
    build: Callable[[str], Site]


def behind(nat: str) -> Callable[[str], Site]:
    return lambda name: Site((Router(f"nat-{name}", nat),), Host(name, on=f"nat-{name}"))


def behind_two(name: str) -> Site:
    carrier = Router(f"isp-{name}", "easy", carrier=True)
    return Site((carrier, Router(f"nat-{name}", "easy", uplink=carrier.name)), Host(name, on=f"nat-{name}"))


def behind_mapper(protocol: MappingProtocol) -> Callable[[str], Site]:
    return lambda name: Site((Router(f"nat-{name}", "hard-random", maps_by=protocol),), Host(name, on=f"nat-{name}"))


def beside_a_neighbour(name: str) -> Site:
    """All that ask for it are in one LAN, where somebody else is as well."""
    return Site((Router(LAN, "easy"),), Host(name, on=LAN), (Host(NEIGHBOUR, on=LAN),))


def behind_v6_firewall(nat: str, *families: Family) -> Callable[[str], Site]:
    """nat: of its IPv4, where it has any."""
    return lambda name: Site(
        (Router(f"nat-{name}", nat, families=families),), Host(name, on=f"nat-{name}", families=families)
    )


STATEFUL: Filtering = "address-and-port-dependent"
LAN, NEIGHBOUR = "nat-lan", "next-door"
EASY = Traits(mapping="endpoint-independent", ports="kept", filtering="address-and-port-dependent", hairpin=False)
HARD = replace(EASY, mapping="address-and-port-dependent", ports="random", early_probe_steals_port=None)
PUBLIC = Traits(mapping="none", ports="kept", filtering="endpoint-independent", open_port=True, routers=2)

KINDS: dict[str, Kind] = {
    "none": Kind("none", "a public address, nothing filtered", PUBLIC, lambda name: Site((), Host(name, on=INTERNET))),
    "easy": Kind(
        "easy", "a home router: one mapping for all destinations, answers only from them", EASY, behind("easy")
    ),
    "easy-bare": Kind(
        "bare",
        "masquerade alone, as hosts of virtual machines have it: an early probe takes the mapping's port",
        replace(EASY, early_probe_steals_port=True),
        behind("easy-bare"),
    ),
    "easy-address-dependent": Kind(
        "addr",
        "easy, and any port of an address once spoken to may answer",
        replace(EASY, filtering="address-dependent"),
        behind("easy-address-dependent"),
    ),
    "full-cone": Kind(
        "cone",
        "easy, and anybody may come in by a mapping that stands",
        replace(EASY, filtering="endpoint-independent"),
        behind("full-cone"),
    ),
    "hard-random": Kind("hard", "a random outside port for each destination", HARD, behind("hard-random")),
    "hard-sequential": Kind(
        "seq",
        "the next outside port for each destination",
        replace(HARD, ports="sequential"),
        behind("hard-sequential"),
    ),
    "nat-pmp": Kind(
        "pmp", "hard-random, and ports on demand by NAT-PMP", replace(HARD, maps_by="nat-pmp"), behind_mapper("nat-pmp")
    ),
    "pcp": Kind("pcp", "hard-random, and ports on demand by PCP", replace(HARD, maps_by="pcp"), behind_mapper("pcp")),
    "upnp": Kind(
        "upnp", "hard-random, and ports on demand by UPnP", replace(HARD, maps_by="upnp"), behind_mapper("upnp")
    ),
    "double-nat": Kind("cgn", "a home router behind a carrier's NAT", replace(EASY, routers=4), behind_two),
    "same-lan-no-hairpin": Kind(
        "lan",
        "one LAN for all that are of this kind, behind one home router that does not turn packets round",
        replace(EASY, same_lan=True),
        beside_a_neighbour,
    ),
    "udp-blocked": Kind("noudp", "a home router that drops all UDP", SILENT, behind("udp-blocked")),
    "host-firewall-default-deny": Kind(
        "deny",
        "a public address, a firewall on the host that lets in only answers",
        replace(PUBLIC, filtering="address-and-port-dependent", open_port=False),
        lambda name: Site((), Host(name, on=INTERNET, default_deny=True)),
    ),
    "v6-stateful": Kind(
        "v6",
        "IPv6 behind a firewall that lets in only answers; of IPv4, UDP is dropped",
        replace(SILENT, v6=STATEFUL),
        behind_v6_firewall("udp-blocked", 4, 6),
    ),
    "v6-only": Kind(
        "v6only",
        "no IPv4 at all; IPv6 behind a firewall that lets in only answers",
        replace(NO_V4, v6=STATEFUL),
        behind_v6_firewall("easy", 6),
    ),
    "dual-hard": Kind(
        "dual",
        "hard-random for IPv4; IPv6 behind a firewall that lets in only answers",
        replace(HARD, v6=STATEFUL),
        behind_v6_firewall("hard-random", 4, 6),
    ),
    "443-only": Kind("tcp443", "only TCP to 443 and 80 gets out", replace(SILENT, other_tcp=False), behind("443-only")),
}


def with_hairpin(kind: Kind) -> Kind:
    def build(name: str) -> Site:
        site = kind.build(name)
        return replace(site, routers=(*site.routers[:-1], replace(site.routers[-1], hairpin=True)))

    return Kind(kind.short, f"{kind.about}; hairpin", replace(kind.traits, hairpin=True), build)


def with_open_port(kind: Kind) -> Kind:
    def build(name: str) -> Site:
        site = kind.build(name)
        opened = replace(site.routers[-1], opened=(Opened(NODE_PORT, name),))
        return replace(site, routers=(*site.routers[:-1], opened))

    about = f"{kind.about}; UDP {NODE_PORT} forwarded"
    return Kind(kind.short, about, replace(kind.traits, open_port=True), build)


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
    routers = dict.fromkeys(router for site in sites for router in site.routers)
    hosts = dict.fromkeys(host for site in sites for host in (*site.neighbours, site.host))
    return Topology(tuple(routers), (Host(SERVER, on=CORE), *hosts))
