"""From a topology to addresses and the kernel's commands: a pure function, so that a test can read it.

Room: lab. Addresses come from documentation ranges (RFC 5737, RFC 3849), those between routers from the benchmarks'
(RFC 2544); LANs are 192.168.n.0/24, carriers' insides 100.64.n.0/24 (RFC 6598). One exception: miniupnpd refuses to
forward ports of an address that is reserved for anything, documentation included, so routers that map have theirs from
the range next to the documentation's, 192.0.1.0/24; it never leaves the lab. A bridge gets a fixed MAC: left alone it
takes the lowest of its ports', changes it when a port joins, and its neighbours lose it for seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ginnel.lab.nats import host_rules, internet_rules, router_rules
from ginnel.lab.topology import CORE, INTERNET, OBSERVER, Family, Topology

CORE_NET, CORE_NET6 = "203.0.113", "2001:db8"
OBSERVER_HOST = 250  # and the next one
PROVIDERS = ("198.51.100", "192.0.2")
MAPPABLE = "192.0.1"
SITES_MOST = 2 * 63
MAPPABLE_MOST = 63
FIRST_HOST = 10


@dataclass(slots=True)
class Namespace:
    """One network namespace: its `ip -batch` lines, whether it forwards, its nftables script."""

    lines: list[str] = field(default_factory=lambda: ["link set lo up"])
    forwards: bool = False
    rules: str = ""


@dataclass(slots=True)
class Plan:
    """`veths` are (namespace, interface, namespace, interface); `addresses` and `addresses6` the outside address of
    each name that has one; `observer6` is empty where nobody has IPv6."""

    namespaces: dict[str, Namespace] = field(default_factory=dict)
    veths: list[tuple[str, str, str, str]] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)
    addresses6: dict[str, str] = field(default_factory=dict)
    observer6: tuple[str, ...] = ()
    observer: tuple[str, str] = (f"{CORE_NET}.{OBSERVER_HOST}", f"{CORE_NET}.{OBSERVER_HOST + 1}")

    def devices(self, name: str) -> list[str]:
        """The interfaces of a namespace that are ends of a link. They are there before its settings: while one waits
        for its link-local address to be found unique, its router asks for no neighbour."""
        below = [interface for lower, interface, _, _ in self.veths if lower == name]
        return below + [port for _, _, upper, port in self.veths if upper == name]


def plan(topology: Topology) -> Plan:
    made = Plan()
    both: tuple[Family, ...] = (4, 6) if topology.has_v6 else (4,)
    wiring = Wiring(made)
    made.namespaces[INTERNET] = Namespace(forwards=True, rules=internet_rules())
    wiring.add_lan(CORE, INTERNET, CORE, (CORE_NET, CORE_NET6 if topology.has_v6 else ""))
    for number, router in enumerate(topology.routers):
        made.namespaces[router.name] = Namespace(forwards=True)
        site6 = wiring.attach(
            Uplink(router.name, "wan0", router.uplink, router.families), mappable=router.maps_by is not None
        )
        inside = f"100.64.{number + 1}" if router.carrier else f"192.168.{number + 11}"
        wiring.add_lan(
            router.name, router.name, "lan0", (inside if 4 in router.families else "", f"{site6}:1" if site6 else "")
        )
    for host in topology.hosts:
        made.namespaces[host.name] = Namespace(rules=host_rules(host.default_deny))
        families = both if host.on == CORE else host.families
        wiring.attach(Uplink(host.name, "eth0", host.on, families))
    for router in topology.routers:
        made.namespaces[router.name].rules = router_rules(
            router, made.addresses.get(router.name, ""), made.addresses.__getitem__
        )
    made.namespaces[OBSERVER] = Namespace(rules=host_rules(default_deny=False))
    wiring.join(Uplink(OBSERVER, "eth0", CORE, both), OBSERVER_HOST)
    made.namespaces[OBSERVER].lines.append(f"address add {made.observer[1]}/24 dev eth0")
    if topology.has_v6:
        made.observer6 = tuple(f"{CORE_NET6}::{OBSERVER_HOST + n}" for n in range(2))
        made.namespaces[OBSERVER].lines.append(f"address add {made.observer6[1]}/64 dev eth0 nodad")
    return made


@dataclass(frozen=True, slots=True)
class Uplink:
    """Somebody's one interface upwards: to a LAN, or to the internet; and which families it speaks."""

    name: str
    interface: str
    on: str
    families: tuple[Family, ...]


class Wiring:
    """Bridges by the name that things hang on, and the next free address of each."""

    def __init__(self, made: Plan) -> None:
        self.made = made
        self.sites = links_to_the_internet(*PROVIDERS, most=SITES_MOST)
        self.mappable = links_to_the_internet(MAPPABLE, most=MAPPABLE_MOST)
        self.edges = 0
        self.bridges: dict[str, tuple[str, str, str, str]] = {}  # -> namespace, bridge, the two nets' first parts
        self.taken: dict[str, int] = {}

    def add_lan(self, name: str, namespace: str, bridge: str, nets: tuple[str, str]) -> None:
        """nets: the first three octets of an IPv4 /24 and the first groups of an IPv6 /64, empty for none."""
        mac = f"02:67:00:00:00:{len(self.bridges) + 1:02x}"
        self.bridges[name], self.taken[name] = (namespace, bridge, *nets), FIRST_HOST
        addresses = [f"{nets[0]}.1/24"] * bool(nets[0]) + [f"{nets[1]}::1/64"] * bool(nets[1])
        self.made.namespaces[namespace].lines += [
            f"link add {bridge} address {mac} type bridge",
            *(given(address, bridge) for address in addresses),
            f"link set {bridge} up",
        ]

    def join(self, up: Uplink, host: int | None = None) -> None:
        """Hang it on a bridge, by a number of its own or the next that is free."""
        namespace, bridge, net, net6 = self.bridges[up.on]
        if host is None:
            host, self.taken[up.on] = self.taken[up.on], self.taken[up.on] + 1
        port = f"p-{up.name}"
        self.made.veths.append((up.name, up.interface, namespace, port))
        self.made.namespaces[namespace].lines.append(f"link set {port} master {bridge} up")
        ours = self.made.namespaces[up.name].lines
        ours.append(f"link set {up.interface} up")
        if 4 in up.families and net:
            self.made.addresses[up.name] = f"{net}.{host}"
            ours += [given(f"{net}.{host}/24", up.interface), f"route add default via {net}.1"]
        if 6 in up.families and net6:
            self.made.addresses6[up.name] = f"{net6}::{host}"
            ours += [given(f"{net6}::{host}/64", up.interface), f"route add default via {net6}::1"]

    def attach(self, up: Uplink, *, mappable: bool = False) -> str:
        """Give a router or host its way up: a place on a LAN, or a link of its own below an access router. The first
        groups of the site's IPv6 /48 come back, if it has one."""
        if up.on != INTERNET:
            self.join(up)
            return ""
        number, self.edges = self.edges, self.edges + 1
        site, theirs, ours = next(self.mappable if mappable else self.sites)
        site6 = f"2001:db8:{number + 1:x}" if 6 in up.families else ""
        edge = self.add_edge(number, site if 4 in up.families else "", site6)
        ends = (up.name, up.interface), (edge, f"p-{up.name}")
        self.made.veths.append((*ends[0], *ends[1]))
        above, below = self.made.namespaces[edge].lines, self.made.namespaces[up.name].lines
        for lines, (_, device) in zip((below, above), ends, strict=True):
            lines.append(f"link set {device} up")
        if 4 in up.families:
            self.made.addresses[up.name] = ours
            above.append(given(f"{theirs}/30", ends[1][1]))
            below += [given(f"{ours}/30", up.interface), f"route add default via {theirs}"]
        if site6:
            self.made.addresses6[up.name] = f"{site6}::2"
            above += [given(f"{site6}::1/64", ends[1][1]), f"route add {site6}::/48 via {site6}::2"]
            below += [given(f"{site6}::2/64", up.interface), f"route add default via {site6}::1"]
        return site6

    def add_edge(self, number: int, site: str, site6: str) -> str:
        """An access router between a site's networks and the internet; its name."""
        name = f"edge{number}"
        self.made.namespaces[name] = Namespace(forwards=True, rules=internet_rules())
        self.made.veths.append((name, "up0", INTERNET, f"p-{name}"))
        above, below = self.made.namespaces[INTERNET].lines, self.made.namespaces[name].lines
        above.append(f"link set p-{name} up")
        below.append("link set up0 up")
        links = [(f"198.18.{number}.", 30, site)] * bool(site)
        links += [(f"2001:db8:ff00:{number:x}::", 64, f"{site6}::/48")] * bool(site6)
        for net, length, inside in links:
            above += [given(f"{net}1/{length}", f"p-{name}"), f"route add {inside} via {net}2"]
            below += [given(f"{net}2/{length}", "up0"), f"route add default via {net}1"]
        return name


def given(address: str, device: str) -> str:
    """IPv6 addresses serve at once: nobody here can have the same."""
    return f"address add {address} dev {device}{' nodad' if ':' in address else ''}"


def links_to_the_internet(*nets: str, most: int) -> Iterator[tuple[str, str, str]]:
    """A /30 each, the access router's address in it and the site's, from the nets in turn."""
    for number in range(most):
        net, block = nets[number % len(nets)], 4 * (number // len(nets) + 1)
        yield f"{net}.{block}/30", f"{net}.{block + 1}", f"{net}.{block + 2}"
    raise ValueError(f"a lab has at most {most} such links to the internet")
