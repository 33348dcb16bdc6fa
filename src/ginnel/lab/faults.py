"""What goes wrong with a network while people use it, done to a lab that stands.

Room: lab. Each method returns when the fault is in force. Nothing here knows a program: the kernel's tables, links and
addresses change, as they do where somebody walks out of the house or a router forgets.
"""

from __future__ import annotations

from dataclasses import dataclass

from ginnel.lab.instance import Lab
from ginnel.lab.kinds import NODE_PORT
from ginnel.lab.topology import INTERNET, Router

SECOND = "eth1"
REBOUND_PORTS = 50000  # the first; each rebinding takes the next
SPARE_HOSTS = 100  # last octets of addresses that come later


@dataclass(slots=True)
class Seat:
    """Where a host is plugged in: the router above, its own interface, its address with the prefix, its gateway."""

    router: str
    interface: str
    address: str
    gateway: str


class Faults:
    """For one lab. `seats`: where each host that was moved or renumbered is now."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.seats: dict[str, Seat] = {}
        self.given = 0
        self.rebound = 0

    # --- paths between two sites ---

    def black_hole(self, a: str, b: str) -> None:
        """UDP between two hosts' outside addresses vanishes in the middle, both ways; relays stay in reach."""
        x, y = (self.lab.addresses[self.lab.topology.edge(name)] for name in (a, b))
        self.lab.block(INTERNET, *(f"ip saddr {s} ip daddr {d} meta l4proto udp drop" for s, d in ((x, y), (y, x))))

    def end_black_holes(self) -> None:
        self.lab.unblock(INTERNET)

    def part(self, a: str, b: str) -> None:
        """Two hosts hear no UDP of each other any more, by whatever path it comes; see `moves`."""
        for host, other in ((a, b), (b, a)):
            lines = [f"{family} saddr {address} meta l4proto udp drop" for family, address in self.known_as(other)]
            script = "".join(f'add rule inet lab faults iifname "eth0" {line}\n' for line in lines)
            self.lab.spaces[host].run(["nft", "-f", "-"], script)

    def rejoin(self, a: str, b: str) -> None:
        for host in (a, b):
            self.lab.spaces[host].run(["nft", "flush", "chain", "inet", "lab", "faults"])

    def known_as(self, host: str) -> list[tuple[str, str]]:
        """What others see it send from, each with its family in nft's words: its router's address, and its own."""
        own = [self.lab.addresses.get(name) for name in dict.fromkeys((self.lab.topology.edge(host), host))]
        six = self.lab.plan.addresses6.get(host)
        return [("ip", address) for address in own if address] + ([("ip6", six)] if six else [])

    # --- a site's router ---

    def block_udp(self, host: str) -> None:
        """All UDP of a host's site vanishes at its edge, STUN too."""
        edge = self.lab.topology.edge(host)
        if edge == host:
            address = self.lab.addresses[host]
            self.lab.block(INTERNET, *(f"ip {way} {address} meta l4proto udp drop" for way in ("saddr", "daddr")))
        else:
            self.lab.block(edge, "meta l4proto udp drop")

    def unblock_udp(self, host: str) -> None:
        edge = self.lab.topology.edge(host)
        self.lab.unblock(INTERNET if edge == host else edge)

    def rebind(self, host: str) -> int:
        """The router next to a host forgets every flow, and maps the node's port to another one from now on, the same
        for all destinations; that port. (A hard NAT picks new ones by itself.)"""
        router = self.seat(host).router
        space, port = self.lab.spaces[router], REBOUND_PORTS + self.rebound
        if not self.rebound_before(router):
            space.run(["nft", "-f", "-"], "add chain ip lab rebound\ninsert rule ip lab post jump rebound\n")
        self.rebound += 1
        rule = f'oifname "wan0" udp sport {NODE_PORT} masquerade to :{port}'
        space.run(["nft", "-f", "-"], f"flush chain ip lab rebound\nadd rule ip lab rebound {rule}\n")
        space.run(["conntrack", "-F"])
        return port

    def rebound_before(self, router: str) -> bool:
        return "chain rebound" in self.lab.spaces[router].run(["nft", "list", "table", "ip", "lab"])

    # --- a host ---

    def seat(self, host: str) -> Seat:
        """Where it sits now; at first, on `eth0` of the LAN where it was built."""
        if host not in self.seats:
            address = self.lab.addresses[host]
            net = address.rpartition(".")[0]
            router = self.lab.topology.path_to_internet(host)[0]
            self.seats[host] = Seat(router, "eth0", f"{address}/24", f"{net}.1")
        return self.seats[host]

    def renumber(self, host: str) -> str:
        """Another address on the same LAN, as after a new lease; the address."""
        old = self.seat(host)
        net = old.gateway.rpartition(".")[0]
        new = Seat(old.router, old.interface, f"{net}.{self.next_host()}/24", old.gateway)
        self.ip(host, f"address del {old.address} dev {old.interface}", *self.settle(new))
        self.seats[host] = new
        return new.address.partition("/")[0]

    def plug_in(self, host: str, router: str) -> None:
        """A second cable, to another router's LAN, that is not up yet; see `move`."""
        lab = f"{self.lab.name}-"
        port = f"q-{host}"
        line = f"link add {SECOND} netns {lab}{host} type veth peer name {port} netns {lab}{router}\n"
        self.lab.spaces[router].run(["ip", "-batch", "-"], line)
        self.ip(router, f"link set {port} master lan0 up")

    def move(self, host: str, router: str) -> None:
        """From where it is to another router's LAN: its interface goes down, the other comes up with a new address."""
        old = self.seat(host)
        gateway = self.gateway(router)
        interface = SECOND if old.interface == "eth0" else "eth0"
        new = Seat(router, interface, f"{gateway.rpartition('.')[0]}.{self.next_host()}/24", gateway)
        self.ip(
            host,
            f"address del {old.address} dev {old.interface}",
            f"link set {old.interface} down",
            f"link set {interface} up",
            *self.settle(new),
        )
        self.seats[host] = new

    def gateway(self, router: str) -> str:
        words = self.lab.spaces[router].run(["ip", "-o", "-4", "address", "show", "dev", "lan0"]).split()
        return words[words.index("inet") + 1].partition("/")[0]

    def link_down(self, host: str) -> None:
        self.ip(host, f"link set {self.seat(host).interface} down")

    def link_up(self, host: str) -> None:
        """With the address that it had; the kernel forgot the routes."""
        seat = self.seat(host)
        self.ip(host, f"link set {seat.interface} up", f"route replace default via {seat.gateway}")

    def settle(self, seat: Seat) -> tuple[str, str]:
        return f"address add {seat.address} dev {seat.interface}", f"route replace default via {seat.gateway}"

    def next_host(self) -> int:
        self.given += 1
        return SPARE_HOSTS + self.given % 150

    def ip(self, where: str, *lines: str) -> None:
        self.lab.spaces[where].run(["ip", "-batch", "-"], "\n".join(lines) + "\n")


def spare(name: str) -> Router:
    """A home router on which nobody sits yet."""
    return Router(name, "easy")
