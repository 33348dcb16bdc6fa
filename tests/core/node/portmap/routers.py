"""A home router as a few lines of Python, and a bench that holds a port mapper against it: no sockets, no waiting.

What the router does wrong is set by its fields, one for each lie that a test is about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from ginnel.core.node.portmap.actions import FetchPortmap, Gateway, PortmapAction, PortMapped, SendPortmap
from ginnel.core.node.portmap.mapper import PortMapper
from ginnel.core.node.portmap.states import Held
from ginnel.wire import xml
from ginnel.words import Endpoint, Instant
from tests.wire.test_upnp import IP1, description, envelope, fault

GATEWAY = Gateway("eth0", IPv4Address("192.168.1.7"), IPv4Address("192.168.1.1"))
OUTSIDE = "203.0.113.5"
PORT = 41641
PCP, PMP, SSDP = "pcp", "pmp", "upnp"


@dataclass
class Router:
    """`speaks`: protocols; `mappings`: external port -> (internal port, lifetime). The rest: what it says, or does."""

    speaks: set[str]
    outside: str = OUTSIDE
    lifetime: int | None = None
    port: int | None = None
    result: int = 0
    nonce: bytes | None = None
    internal: int | None = None
    protocol: int = 17
    source: str = "192.168.1.1:5351"
    up: bool = True
    booted: float = 0.0
    next_port: int = 50000
    location: str = "http://192.168.1.1:5000/root.xml"
    services: tuple[tuple[str, str], ...] = ((IP1, "/ctl"),)
    faults: dict[str, list[int]] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    mappings: dict[int, tuple[int, int]] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    fetched: list[FetchPortmap] = field(default_factory=list)
    asked: list[tuple[Endpoint, bytes]] = field(default_factory=list)

    def restart(self, now: float) -> None:
        self.mappings.clear()
        self.booted = now

    def epoch(self, now: float) -> bytes:
        return int(now - self.booted).to_bytes(4, "big")

    # --- PCP and NAT-PMP ---

    def datagram(self, packet: bytes, now: float) -> bytes | None:
        if packet[0] == 2:
            if PCP in self.speaks:
                return self.by_pcp(packet, now)
            return b"\0\x80\0\1" + self.epoch(now) if PMP in self.speaks else None
        return self.by_pmp(packet, now) if PMP in self.speaks else None

    def by_pmp(self, packet: bytes, now: float) -> bytes:
        head = self.result.to_bytes(2, "big") + self.epoch(now)
        if packet[1] == 0:
            return b"\0\x80" + head + IPv4Address(self.outside).packed
        internal, wanted = int.from_bytes(packet[4:6], "big"), int.from_bytes(packet[6:8], "big")
        external, lifetime = self.map(internal, wanted, int.from_bytes(packet[8:12], "big"))
        said = self.internal if self.internal is not None else internal
        return b"\0\x81" + head + b"".join(n.to_bytes(2, "big") for n in (said, external)) + lifetime.to_bytes(4, "big")

    def by_pcp(self, packet: bytes, now: float) -> bytes:
        operation = packet[1]
        if operation == 0:
            return b"\2\x80\0\0" + bytes(4) + self.epoch(now) + bytes(12)
        nonce = self.nonce or packet[24:36]
        internal, wanted = int.from_bytes(packet[40:42], "big"), int.from_bytes(packet[42:44], "big")
        external, lifetime = self.map(internal, wanted, int.from_bytes(packet[4:8], "big"))
        said = self.internal if self.internal is not None else internal
        ports = said.to_bytes(2, "big") + external.to_bytes(2, "big")
        head = b"\2\x81\0" + bytes([self.result]) + lifetime.to_bytes(4, "big") + self.epoch(now) + bytes(12)
        where = bytes(10) + b"\xff\xff" + IPv4Address(self.outside).packed
        return head + nonce + bytes([self.protocol, 0, 0, 0]) + ports + where

    def map(self, internal: int, wanted: int, lifetime: int) -> tuple[int, int]:
        if lifetime == 0:
            self.mappings = {out: held for out, held in self.mappings.items() if held[0] != internal}
            return 0, 0
        held = next((out for out, (inside, _) in self.mappings.items() if inside == internal), None)
        external = held or (wanted if wanted and wanted not in self.mappings else self.next_port)
        granted = self.lifetime if self.lifetime is not None else lifetime
        self.mappings[external] = (internal, granted)
        return (self.port if self.port is not None else external), granted

    # --- UPnP ---

    def http(self, action: FetchPortmap) -> tuple[int, bytes]:
        self.fetched.append(action)
        if not self.up:
            return 0, b""
        if action.soap is None:
            return (200, description(*self.services)) if action.path == "/root.xml" else (404, b"")
        name = action.soap.action.strip('"').partition("#")[2]
        call = xml.parse(action.soap.body).children[0].children[0]
        arguments = {child.name: child.text for child in call.children}
        self.calls.append((name, arguments))
        if self.faults.get(name):
            return 500, fault(self.faults[name].pop(0))
        return self.action(name, arguments, action.path)

    def action(self, name: str, arguments: dict[str, str], path: str) -> tuple[int, bytes]:
        external = int(arguments.get("NewExternalPort", "0"))
        values: dict[str, Any] = {}
        if name in ("AddPortMapping", "AddAnyPortMapping"):
            self.mappings[external] = (int(arguments["NewInternalPort"]), int(arguments["NewLeaseDuration"]))
            values = {"NewReservedPort": str(external)} if "Any" in name else {}
        elif name == "DeletePortMapping":
            self.mappings.pop(external, None)
        elif name == "GetSpecificPortMappingEntry":
            if external not in self.mappings:
                return 500, fault(714)
            values = {"NewInternalClient": "192.168.1.7", "NewInternalPort": str(self.mappings[external][0])}
        elif name == "GetExternalIPAddress":
            values = {"NewExternalIPAddress": self.outside}
        values |= self.values.get(f"{name} {path}", {}) | self.values.get(name, {})
        inside = "".join(f"<{key}>{value}</{key}>" for key, value in values.items())
        return 200, envelope(f"<{name}Response>{inside}</{name}Response>")

    def search_answer(self) -> bytes:
        return (
            "HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nSERVER: Box/1\r\n"
            "USN: uuid:1::urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
            f"LOCATION: {self.location}\r\n\r\n"
        ).encode()


class Bench:
    """A mapper and a router, and a clock that jumps. `told`: what the mesh heard, in order."""

    def __init__(self, router: Router, **options: Any) -> None:
        self.router = router
        self.now = 1000.0
        self.told: list[PortMapped] = []
        self.drawn = 0
        self.performing = False
        self.waiting: list[PortmapAction] = []
        self.mapper = PortMapper(self.draw, b"secret of a machine", **options)

    def draw(self, size: int) -> bytes:
        self.drawn += 1
        return (self.drawn * 7919).to_bytes(8, "big")[-size:]

    @property
    def external(self) -> Endpoint | None:
        return self.told[-1].external if self.told else None

    @property
    def held(self) -> Held:
        assert isinstance(self.mapper.state, Held), self.mapper.problem
        return self.mapper.state

    def start(self, gateway: Gateway = GATEWAY, port: int = PORT) -> Bench:
        self.perform(self.mapper.start(gateway, port, Instant(self.now)))
        return self

    def stop(self) -> None:
        self.perform(self.mapper.stop())

    def after(self, seconds: float) -> Bench:
        """That time passes, and whatever falls due in it happens."""
        until = self.now + seconds
        while (at := self.mapper.next_timeout()) is not None and at <= until:
            self.now = max(self.now, at)
            self.perform(self.mapper.tick(Instant(self.now)))
        self.now = until
        return self

    def perform(self, actions: list[PortmapAction]) -> None:
        """What follows from an answer comes after what was said before it."""
        self.waiting += actions
        if self.performing:
            return
        self.performing = True
        while self.waiting:
            action = self.waiting.pop(0)
            match action:
                case SendPortmap(to, packet):
                    self.router.asked.append((to, packet))
                    self.deliver(to, packet)
                case FetchPortmap():
                    status, body = self.router.http(action)
                    self.perform(self.mapper.fetched(action.number, status, body, Instant(self.now)))
                case PortMapped():
                    self.told.append(action)
        self.performing = False

    def deliver(self, to: Endpoint, packet: bytes) -> None:
        if not self.router.up:
            return
        now = Instant(self.now)
        if to.port == 5351:
            answer = self.router.datagram(packet, self.now)
            if answer is not None:
                self.perform(self.mapper.received(Endpoint.parse(self.router.source), answer, now))
        elif SSDP in self.router.speaks:
            source = Endpoint.parse(self.router.source.replace("5351", "40000"))
            self.perform(self.mapper.found(source, self.router.search_answer(), now))


def mapped(router: Router, **options: Any) -> Bench:
    """A bench whose router has granted a port."""
    bench = Bench(router, **options).start().after(1.0)
    assert isinstance(bench.mapper.state, Held), bench.mapper.problem
    return bench
