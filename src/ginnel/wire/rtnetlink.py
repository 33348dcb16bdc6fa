"""Routing netlink: the kernel's links, addresses, routes and policy rules (RFC 3549; linux/netlink.h, rtnetlink.h,
if_addr.h, fib_rules.h). The few messages that a node needs, in the machine's byte order.

Room: wire. Bytes become messages and back. No sockets, clocks, randomness or logs come in.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface

from ginnel.wire.read import Malformed, Reader

Network = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface

HEADER = struct.Struct("=IHHII")  # length, kind, flags, sequence, port
ATTRIBUTE = struct.Struct("=HH")
LINK = struct.Struct("=BxHiII")  # family, type, index, flags, which flags to change
ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # family, lengths of destination and source, tos, table, protocol, scope, type, flags
U32 = struct.Struct("=I")
S32 = struct.Struct("=i")


AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10  # linux/socket.h


class Kind(IntEnum):
    """Message types. Rules share the layout of routes; their protocol and type are attributes and an action."""

    ERROR = 2
    DONE = 3
    NEW_LINK, DEL_LINK, GET_LINK = 16, 17, 18
    NEW_ADDRESS, DEL_ADDRESS, GET_ADDRESS = 20, 21, 22
    NEW_ROUTE, DEL_ROUTE, GET_ROUTE = 24, 25, 26
    NEW_RULE, DEL_RULE, GET_RULE = 32, 33, 34


REQUEST, ACK, DUMP, EXCLUSIVE, CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
UP = 0x1  # IFF_UP
TENTATIVE, NO_DUPLICATE_DETECTION = 0x40, 0x02  # IFA_F_
UNICAST, UNREACHABLE = 1, 7  # RTN_, and FR_ACT_TO_TBL, FR_ACT_UNREACHABLE
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253

IFLA_IFNAME = 3
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_TABLE = 1, 4, 5, 6, 15
FRA_PRIORITY, FRA_FWMARK, FRA_TABLE, FRA_FWMASK, FRA_PROTOCOL = 6, 10, 15, 16, 21


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `port`: whose request brought it about; 0: the kernel's own doing."""

    kind: int
    sequence: int
    port: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    up: bool


@dataclass(frozen=True, slots=True)
class Address:
    index: int
    interface: Interface
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """`index`: the interface that it leads to, 0: none. `metric` 0: the kernel's default."""

    destination: Network
    table: int
    protocol: int = 0
    kind: int = UNICAST
    index: int = 0
    metric: int = 0
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy rule of one family: what has `mark` goes by `table`; None: unreachable."""

    family: int
    priority: int
    table: int | None
    mark: int = 0
    mask: int = 0
    protocol: int = 0


# --- messages ---


def encode(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One request; the kernel fills in our port."""
    return HEADER.pack(HEADER.size + len(body), kind, flags | REQUEST, sequence, 0) + body


def messages(datagram: bytes) -> Iterator[Message]:
    """The messages of one datagram."""
    reader = Reader(datagram)
    while reader:
        size, kind, _, sequence, port = HEADER.unpack(reader.take(HEADER.size))
        yield Message(kind, sequence, port, reader.take(size - HEADER.size, pad_to=4))


def error_of(message: Message) -> int:
    """The errno of an `ERROR` (0: it was done) or of a `DONE`."""
    number: int = S32.unpack(Reader(message.body).take(S32.size))[0] if message.body else 0
    return -number


def attribute(number: int, value: bytes) -> bytes:
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), number) + value + bytes(-len(value) % 4)


def _attributes(reader: Reader) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while reader.remaining >= ATTRIBUTE.size:
        size, number = ATTRIBUTE.unpack(reader.take(ATTRIBUTE.size))
        found[number & 0x3FFF] = reader.take(size - ATTRIBUTE.size, pad_to=4)
    return found


def _number(attributes: dict[int, bytes], number: int, otherwise: int = 0) -> int:
    value = attributes.get(number)
    if value is None:
        return otherwise
    if len(value) != U32.size:
        raise Malformed(f"attribute {number}: expected 4 bytes, {len(value)} came")
    return int(U32.unpack(value)[0])


def _ip(value: bytes) -> str:
    if len(value) not in (4, 16):
        raise Malformed(f"expected an address, {len(value)} bytes came")
    return str(ip_address(value))


# --- links ---


def link_up(index: int) -> bytes:
    return LINK.pack(AF_UNSPEC, 0, index, UP, UP)


def every_link() -> bytes:
    return LINK.pack(AF_UNSPEC, 0, 0, 0, 0)


def parse_link(body: bytes) -> Link:
    reader = Reader(body)
    _, _, index, flags, _ = LINK.unpack(reader.take(LINK.size))
    name = _attributes(reader).get(IFLA_IFNAME, b"").rstrip(b"\0")
    return Link(index, name.decode(errors="surrogateescape"), bool(flags & UP))


# --- addresses ---


def address(wanted: Address) -> bytes:
    """An address of ours, at once usable: nobody else can have it on a point-to-point interface."""
    ip = wanted.interface.ip
    family = AF_INET if ip.version == 4 else AF_INET6
    head = ADDRESS.pack(family, wanted.interface.network.prefixlen, 0, SCOPE_UNIVERSE, wanted.index)
    flags = attribute(IFA_FLAGS, U32.pack(NO_DUPLICATE_DETECTION)) if ip.version == 6 else b""
    return head + attribute(IFA_LOCAL, ip.packed) + attribute(IFA_ADDRESS, ip.packed) + flags


def every_address() -> bytes:
    return ADDRESS.pack(AF_UNSPEC, 0, 0, 0, 0)


def parse_address(body: bytes) -> Address:
    reader = Reader(body)
    _, length, flags, _, index = ADDRESS.unpack(reader.take(ADDRESS.size))
    attributes = _attributes(reader)
    value = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS)
    if value is None:
        raise Malformed("an address without an address")
    try:
        interface = ip_interface(f"{_ip(value)}/{length}")
    except ValueError as error:
        raise Malformed(str(error)) from None
    return Address(index, interface, _number(attributes, IFA_FLAGS, flags))


# --- routes ---


def route(wanted: Route) -> bytes:
    network = wanted.destination
    family = AF_INET if network.version == 4 else AF_INET6
    scope = SCOPE_LINK if network.version == 4 and wanted.index else SCOPE_UNIVERSE
    head = ROUTE.pack(family, network.prefixlen, 0, 0, 0, wanted.protocol, scope, wanted.kind, 0)
    parts = [head, attribute(RTA_TABLE, U32.pack(wanted.table)), attribute(RTA_DST, network.network_address.packed)]
    if wanted.index:
        parts.append(attribute(RTA_OIF, U32.pack(wanted.index)))
    if wanted.metric:
        parts.append(attribute(RTA_PRIORITY, U32.pack(wanted.metric)))
    return b"".join(parts)


def every_route(family: int, table: int) -> bytes:
    """Of that table alone, where the socket asks for strict checking."""
    return ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + attribute(RTA_TABLE, U32.pack(table))


def parse_route(body: bytes) -> Route:
    reader = Reader(body)
    family, length, _, _, table, protocol, _, kind, _ = ROUTE.unpack(reader.take(ROUTE.size))
    attributes = _attributes(reader)
    zero = bytes(4 if family == AF_INET else 16)
    gateway = attributes.get(RTA_GATEWAY)
    return Route(
        _network(attributes.get(RTA_DST, zero), length),
        _number(attributes, RTA_TABLE, table),
        protocol,
        kind,
        _number(attributes, RTA_OIF),
        _number(attributes, RTA_PRIORITY),
        _ip(gateway) if gateway is not None else "",
    )


def _network(value: bytes, length: int) -> Network:
    try:
        return IPv4Network((_ip(value), length)) if len(value) == 4 else IPv6Network((_ip(value), length))
    except ValueError as error:
        raise Malformed(str(error)) from None


# --- rules ---


def rule(wanted: Rule) -> bytes:
    action = UNREACHABLE if wanted.table is None else UNICAST
    parts = [
        ROUTE.pack(wanted.family, 0, 0, 0, 0, 0, 0, action, 0),
        attribute(FRA_PRIORITY, U32.pack(wanted.priority)),
        attribute(FRA_PROTOCOL, bytes([wanted.protocol])),
    ]
    if wanted.table is not None:
        parts.append(attribute(FRA_TABLE, U32.pack(wanted.table)))
    if wanted.mark:
        parts += [attribute(FRA_FWMARK, U32.pack(wanted.mark)), attribute(FRA_FWMASK, U32.pack(wanted.mask))]
    return b"".join(parts)


def every_rule(family: int) -> bytes:
    return ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)


def parse_rule(body: bytes) -> Rule:
    reader = Reader(body)
    family, _, _, _, table, _, _, action, _ = ROUTE.unpack(reader.take(ROUTE.size))
    attributes = _attributes(reader)
    return Rule(
        family,
        _number(attributes, FRA_PRIORITY),
        None if action == UNREACHABLE else _number(attributes, FRA_TABLE, table),
        _number(attributes, FRA_FWMARK),
        _number(attributes, FRA_FWMASK),
        (attributes.get(FRA_PROTOCOL) or b"\0")[0],
    )
