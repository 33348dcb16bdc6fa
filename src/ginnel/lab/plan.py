"""From a topology to addresses and the kernel's commands: a pure function, so that a test can read it.

Room: lab. Addresses come from documentation ranges (RFC 5737), those between routers from the benchmarks' (RFC 2544);
LANs are 192.168.n.0/24, carriers' insides 100.64.n.0/24 (RFC 6598). One exception: miniupnpd refuses to forward ports
of an address that is reserved for anything, documentation included, so routers that map have theirs from the range
next to the documentation's, 192.0.1.0/24; it never leaves the lab. A bridge gets a fixed MAC: left alone it takes the
lowest of its ports', changes it when a port joins, and its neighbours lose it for seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ginnel.lab.nats import host_rules, internet_rules, router_rules
from ginnel.lab.topology import CORE, INTERNET, OBSERVER, Topology

CORE_NET = "203.0.113"
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
    """`veths` are (namespace, interface, namespace, interface); `addresses` the outside IPv4 address of each name."""

    namespaces: dict[str, Namespace] = field(default_factory=dict)
    veths: list[tuple[str, str, str, str]] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)
    observer: tuple[str, str] = (f"{CORE_NET}.{OBSERVER_HOST}", f"{CORE_NET}.{OBSERVER_HOST + 1}")


def plan(topology: Topology) -> Plan:
    made = Plan()
    wiring = Wiring(made)
    made.namespaces[INTERNET] = Namespace(forwards=True, rules=internet_rules())
    wiring.add_lan(CORE, INTERNET, CORE, CORE_NET)
    for number, router in enumerate(topology.routers):
        made.namespaces[router.name] = Namespace(forwards=True)
        wiring.attach(router.name, "wan0", router.uplink, mappable=router.maps_by is not None)
        inside = f"100.64.{number + 1}" if router.carrier else f"192.168.{number + 11}"
        wiring.add_lan(router.name, router.name, "lan0", inside)
    for host in topology.hosts:
        made.namespaces[host.name] = Namespace(rules=host_rules(host.default_deny))
        wiring.attach(host.name, "eth0", host.on)
    for router in topology.routers:
        made.namespaces[router.name].rules = router_rules(
            router, made.addresses[router.name], made.addresses.__getitem__
        )
    made.namespaces[OBSERVER] = Namespace(rules=host_rules(default_deny=False))
    made.addresses[OBSERVER] = wiring.join(OBSERVER, CORE, "eth0", OBSERVER_HOST)
    made.namespaces[OBSERVER].lines.append(f"address add {made.observer[1]}/24 dev eth0")
    return made


class Wiring:
    """Bridges by the name that things hang on, and the next free address of each."""

    def __init__(self, made: Plan) -> None:
        self.made = made
        self.sites = links_to_the_internet(*PROVIDERS, most=SITES_MOST)
        self.mappable = links_to_the_internet(MAPPABLE, most=MAPPABLE_MOST)
        self.edges = 0
        self.bridges: dict[str, tuple[str, str, str]] = {}  # -> namespace, bridge, first three octets
        self.taken: dict[str, int] = {}

    def add_lan(self, name: str, namespace: str, bridge: str, net: str) -> None:
        mac = f"02:67:00:00:00:{len(self.bridges) + 1:02x}"
        self.bridges[name], self.taken[name] = (namespace, bridge, net), FIRST_HOST
        self.made.namespaces[namespace].lines += [
            f"link add {bridge} address {mac} type bridge",
            f"address add {net}.1/24 dev {bridge}",
            f"link set {bridge} up",
        ]

    def join(self, name: str, lan: str, interface: str, host: int | None = None) -> str:
        """Hang `name` on a bridge; its address comes back."""
        namespace, bridge, net = self.bridges[lan]
        if host is None:
            host, self.taken[lan] = self.taken[lan], self.taken[lan] + 1
        port = f"p-{name}"
        self.made.veths.append((name, interface, namespace, port))
        self.made.namespaces[namespace].lines.append(f"link set {port} master {bridge} up")
        self.made.namespaces[name].lines += [
            f"address add {net}.{host}/24 dev {interface}",
            f"link set {interface} up",
            f"route add default via {net}.1",
        ]
        return f"{net}.{host}"

    def attach(self, name: str, interface: str, uplink: str, *, mappable: bool = False) -> None:
        """Give a router or host its way up: a place on a LAN, or a /30 of its own below an access router."""
        if uplink != INTERNET:
            self.made.addresses[name] = self.join(name, uplink, interface)
            return
        site, theirs, ours = next(self.mappable if mappable else self.sites)
        edge = self.add_edge(site)
        self.link((name, interface, ours), (edge, f"p-{name}", theirs))
        self.made.namespaces[name].lines.append(f"route add default via {theirs}")
        self.made.addresses[name] = ours

    def add_edge(self, site: str) -> str:
        """An access router between a site's network and the internet; its name."""
        number, self.edges = self.edges, self.edges + 1
        name, above, below = f"edge{number}", f"198.18.{number}.1", f"198.18.{number}.2"
        self.made.namespaces[name] = Namespace(forwards=True, rules=internet_rules())
        self.link((name, "up0", below), (INTERNET, f"p-{name}", above))
        self.made.namespaces[name].lines.append(f"route add default via {above}")
        self.made.namespaces[INTERNET].lines.append(f"route add {site} via {below}")
        return name

    def link(self, below: tuple[str, str, str], above: tuple[str, str, str]) -> None:
        """A /30 between two ends, each a namespace, its interface and its address."""
        self.made.veths.append((*below[:2], *above[:2]))
        for name, device, address in (below, above):
            self.made.namespaces[name].lines += [f"address add {address}/30 dev {device}", f"link set {device} up"]


def links_to_the_internet(*nets: str, most: int) -> Iterator[tuple[str, str, str]]:
    """A /30 each, the access router's address in it and the site's, from the nets in turn."""
    for number in range(most):
        net, block = nets[number % len(nets)], 4 * (number // len(nets) + 1)
        yield f"{net}.{block}/30", f"{net}.{block + 1}", f"{net}.{block + 2}"
    raise ValueError(f"a lab has at most {most} such links to the internet")
