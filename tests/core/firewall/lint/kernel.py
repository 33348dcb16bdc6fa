"""Two hosts in namespaces, one behind a firewall, and packets between them: what the kernel makes of a rule set.

    a (the firewall)            b (everybody else)
      eth0 5.5.0.1 10.0.0.1  --  e0 5.5.0.2 5.5.9.9 10.0.0.2 10.0.7.7
      eth1 6.6.0.1           --  e1 6.6.0.2 6.6.3.3           and the same in IPv6

A frame of an unknown protocol behind the packets is the sign that all of them have been dealt with: one thread sends,
on one processor, so the kernel keeps their order.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import product

from ginnel.lab.namespace import Inside, enter_network, run

SIGN = 0x88B5  # IEEE 802: local experimental
ETH_P_ALL = 3
OWN = {"eth0": ("5.5.0.1", "10.0.0.1", "2600:5::1", "fd00:5::1"), "eth1": ("6.6.0.1", "2600:6::1")}
THEIRS = {
    "eth0": ("5.5.0.2", "5.5.9.9", "10.0.0.2", "10.0.7.7", "2600:5::2", "2600:5::ff:9", "fd00:5::2"),
    "eth1": ("6.6.0.2", "6.6.3.3", "2600:6::2"),
}
PORTS = (22, 53, 80, 443, 3478, 41641, 50000)
NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Probe:
    """One flow. inward: it begins at the other host. A client port of TCP is the kernel's choice."""

    inward: bool
    tcp: bool
    device: str
    own: str
    own_port: int
    theirs: str
    their_port: int

    @property
    def family(self) -> int:
        return 6 if ":" in self.own else 4


@dataclass(frozen=True, slots=True)
class Seen:
    """arrived: the first packet (udp alone; of tcp nobody looks at it). answered: and all that follows."""

    probe: Probe
    arrived: bool
    answered: bool


def every_probe() -> list[Probe]:
    got = []
    for device, addresses in OWN.items():
        for own, theirs in product(addresses, THEIRS[device]):
            if (":" in own) == (":" in theirs):
                for inward, tcp, a, b in product((True, False), (True, False), PORTS, PORTS):
                    got.append(Probe(inward, tcp, device, own, a, theirs, b))
    return got


class Kernel:
    """The two hosts. `run` runs a command behind the firewall."""

    def __init__(self, inside: Inside, outside: Inside) -> None:
        self._inside, self._outside = inside, outside
        self._udp: dict[tuple[bool, str, int], socket.socket] = {}
        self._listeners: dict[tuple[bool, str, int], socket.socket] = {}
        self._signs = {
            device: (self._frames(inside, device), self._frames(outside, "e" + device[-1])) for device in OWN
        }

    def open(self) -> None:
        for ours, addresses in ((True, OWN), (False, THEIRS)):
            for each in (a for all_of_it in addresses.values() for a in all_of_it):
                for port in PORTS:
                    self._udp[ours, each, port] = self._bound(ours, socket.SOCK_DGRAM, each, port)
                    listener = self._bound(ours, socket.SOCK_STREAM, each, port)
                    listener.listen(64)
                    self._listeners[ours, each, port] = listener

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        return self._inside.run(argv, stdin)

    def probe(self, probes: Sequence[Probe]) -> list[Seen]:
        """No two probes may be between the same two address-port pairs."""
        self.run(["conntrack", "-F"])
        udp = self._ask_udp([p for p in probes if not p.tcp])
        return udp + self._ask_tcp([p for p in probes if p.tcp])

    def _ask_udp(self, probes: list[Probe]) -> list[Seen]:
        arrived = self._send(dict(enumerate(probes)), back=False)
        answered = self._send({n: probes[n] for n in arrived}, back=True)
        again = self._send({n: probes[n] for n in answered}, back=False)
        return [Seen(p, n in arrived, n in again) for n, p in enumerate(probes)]

    def _send(self, probes: dict[int, Probe], *, back: bool) -> set[int]:
        """The numbers of those whose datagram arrived."""
        for number, p in probes.items():
            from_us = p.inward == back
            here, there = (p.own, p.own_port), (p.theirs, p.their_port)
            source, to = (here, there) if from_us else (there, here)
            with suppress(PermissionError):  # how the sender learns of a drop on its own output
                self._udp[from_us, *source].sendto(struct.pack("!I", number), to)
        self._settle()
        got = set()
        for opened in self._udp.values():
            with suppress(BlockingIOError):
                while True:
                    got.add(struct.unpack("!I", opened.recv(64))[0])
        assert got <= probes.keys()
        return got

    def _ask_tcp(self, probes: list[Probe]) -> list[Seen]:
        with ExitStack() as stack:
            clients: list[tuple[Probe, socket.socket]] = []
            for p in probes:
                source, to = (p.theirs, (p.own, p.own_port)) if p.inward else (p.own, (p.theirs, p.their_port))
                client = stack.enter_context(self._bound(not p.inward, socket.SOCK_STREAM, source, 0))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                with suppress(BlockingIOError, PermissionError, ConnectionError):
                    client.connect(to)
                port = client.getsockname()[1]
                clients.append((_with_client_port(p, port), client))
            for _ in range(3):
                self._settle()
            accepted = self._accepted()
            return [Seen(p, _key(p) in accepted, _key(p) in accepted) for p, _ in clients]

    def _accepted(self) -> set[tuple[bool, str, int, str, int]]:
        got = set()
        for (ours, address, port), listener in self._listeners.items():
            with suppress(BlockingIOError):
                while True:
                    opened, peer = listener.accept()
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                    opened.close()
                    got.add((ours, address, port, peer[0], peer[1]))
        return got

    def _settle(self) -> None:
        """Until every packet that was sent has been dealt with, on both sides."""
        for inner, outer in self._signs.values():
            for source, sink in ((outer, inner), (inner, outer)):
                mark = os.urandom(16)
                source.send(b"\xff" * 6 + b"\2\0\0\0\0\1" + struct.pack("!H", SIGN) + mark.ljust(46, b"\0"))
                while True:
                    ready, _, _ = select.select([sink], [], [], 10)
                    assert ready, "the sign did not arrive"
                    if mark in sink.recv(2048):
                        break

    def _bound(self, ours: bool, kind: socket.SocketKind, address: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        opened = (self._inside if ours else self._outside).socket(kind, (address, port), family)
        opened.setblocking(False)
        return opened

    @staticmethod
    def _frames(side: Inside, device: str) -> socket.socket:
        opened: socket.socket = side.call(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        opened.bind((device, ETH_P_ALL))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        return opened

    def close(self) -> None:
        for opened in (
            *self._udp.values(),
            *self._listeners.values(),
            *(s for pair in self._signs.values() for s in pair),
        ):
            opened.close()


def _with_client_port(p: Probe, port: int) -> Probe:
    own, theirs = (p.own_port, port) if p.inward else (port, p.their_port)
    return Probe(p.inward, p.tcp, p.device, p.own, own, p.theirs, theirs)


def _key(p: Probe) -> tuple[bool, str, int, str, int]:
    if p.inward:
        return True, p.own, p.own_port, p.theirs, p.their_port
    return False, p.theirs, p.their_port, p.own, p.own_port


@contextmanager
def kernel() -> Iterator[Kernel]:
    names = [f"go{os.getpid() % 100000}{side}" for side in "ab"]
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    with ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, processors)
        for name in names:
            run(["ip", "netns", "add", name])
            stack.callback(run, ["ip", "netns", "del", name])
        _wire(*names)
        sides = [Inside(name, lambda name=name: enter_network(name)) for name in names]  # type: ignore[misc]
        for side in sides:
            stack.callback(side.close)
        made = Kernel(sides[0], sides[1])
        stack.callback(made.close)
        made.open()
        yield made


def _wire(inside: str, outside: str) -> None:
    lines: dict[str, list[str]] = {inside: [], outside: []}
    for device, addresses in OWN.items():
        other = "e" + device[-1]
        run(["ip", "-n", inside, "link", "add", device, "type", "veth", "peer", "name", other, "netns", outside])
        for name, link, each in ((inside, device, addresses), (outside, other, THEIRS[device])):
            lines[name].append(f"link set {link} up")
            lines[name] += [f"addr add {a}/{'64 nodad' if ':' in a else 16} dev {link}" for a in each]
    for name, batch in lines.items():
        run(["ip", "-n", name, "-batch", "-"], "\n".join(["link set lo up", *batch]) + "\n")
    for name, peer, devices, addresses in (
        (inside, outside, {"eth0": "e0", "eth1": "e1"}, THEIRS),
        (outside, inside, {"e0": "eth0", "e1": "eth1"}, {"e0": OWN["eth0"], "e1": OWN["eth1"]}),
    ):  # neighbours that need no asking: the first packet goes at once
        known = []
        for device, other in devices.items():
            mac = run(["ip", "-n", peer, "-br", "link", "show", "dev", other]).split()[2]
            known += [f"neigh replace {a} lladdr {mac} dev {device} nud permanent" for a in addresses[device]]
        run(["ip", "-n", name, "-batch", "-"], "\n".join(known) + "\n")
