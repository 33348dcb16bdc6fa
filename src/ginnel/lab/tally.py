"""What a host sends and hears on its real interface, packet by packet: when, to whom, and of what kind.

Room: lab. For few packets: idle nodes, and the seconds around a fault.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType

from ginnel.lab.namespace import Inside

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
PACKET_OUTGOING = 4
HEAD = 256
KEPT = 1 << 18
LOOK_AGAIN = 0.1
DISCO = b"TS\xf0\x9f\x92\xac"
STUN_COOKIE = b"\x21\x12\xa4\x42"
WIREGUARD = {1: "initiation", 2: "response", 3: "cookie", 4: "data"}


@dataclass(frozen=True, slots=True)
class Packet:
    """at: monotonic seconds. kind: `disco`, `stun`, `initiation`, `response`, `data`, `udp`, `tcp`, `icmp`, `arp`,
    `other`. remote: the address outside this host, and its port; size: of the IP packet."""

    at: float
    out: bool
    kind: str
    remote: str
    port: int
    size: int
    detail: str = ""

    def __str__(self) -> str:
        arrow = "->" if self.out else "<-"
        return f"{self.at:.4f} {arrow} {self.remote}:{self.port} {self.kind} {self.size} {self.detail}".rstrip()


class Tally:
    """A context: every packet of an interface from its beginning to its end, the newest quarter of a million."""

    def __init__(self, space: Inside, interface: str = "eth0") -> None:
        self.space, self.interface = space, interface
        self.packets: deque[Packet] = deque(maxlen=KEPT)
        self.ending = threading.Event()

    def __enter__(self) -> Tally:
        self.socket = self.space.call(listener, self.interface)
        self.thread = threading.Thread(target=self.listen, name="tally", daemon=True)
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ending.set()
        self.thread.join()
        self.socket.close()

    def between(self, since: float, until: float) -> list[Packet]:
        return [packet for packet in list(self.packets) if since <= packet.at < until]

    def listen(self) -> None:
        while not self.ending.is_set():
            with suppress(OSError):  # nothing came, or the interface went down; it may come up again
                head, (_, ethertype, direction, *_) = self.socket.recvfrom(HEAD)
                self.packets.append(packet_of(head, ethertype, direction == PACKET_OUTGOING, time.monotonic()))


def listener(interface: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    opened.bind((interface, ETH_P_ALL))
    opened.settimeout(LOOK_AGAIN)
    return opened


def packet_of(head: bytes, ethertype: int, out: bool, at: float) -> Packet:
    """The first bytes of an IP packet, as a Packet; what cannot be read is `other`."""
    try:
        if ethertype == ETH_P_IP:
            header = 4 * (head[0] & 15)
            size, protocol = int.from_bytes(head[2:4], "big"), head[9]
            remote = str(ip_address(head[16:20] if out else head[12:16]))
        elif ethertype == ETH_P_IPV6:
            header, size, protocol = 40, 40 + int.from_bytes(head[4:6], "big"), head[6]
            remote = str(ip_address(head[24:40] if out else head[8:24]))
        else:
            return Packet(at, out, "arp" if ethertype == 0x0806 else "other", "", 0, len(head))
        if protocol not in (socket.IPPROTO_UDP, socket.IPPROTO_TCP):
            icmp = protocol in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)
            return Packet(at, out, "icmp" if icmp else "other", remote, 0, size)
        source, target = struct.unpack_from("!HH", head, header)
        port = target if out else source
        if protocol == socket.IPPROTO_TCP:
            return Packet(at, out, "tcp", remote, port, size, tcp_detail(head, header, size))
        return Packet(at, out, datagram_kind(head[header + 8 :]), remote, port, size, f"by {source if out else target}")
    except (IndexError, ValueError, struct.error):
        return Packet(at, out, "other", "", 0, len(head))


def datagram_kind(payload: bytes) -> str:
    if payload[:6] == DISCO:
        return "disco"
    if payload[4:8] == STUN_COOKIE:
        return "stun"
    return WIREGUARD.get(payload[0], "udp") if payload[1:4] == b"\0\0\0" else "udp"


def tcp_detail(head: bytes, header: int, size: int) -> str:
    """Flags, and the bytes of payload."""
    flags = "".join(letter for bit, letter in enumerate("FSRPA") if head[header + 13] & 1 << bit)
    return f"{flags} {size - header - 4 * (head[header + 12] >> 4)}"
