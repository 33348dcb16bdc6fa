"""What a NAT really does, found out by packets before anybody trusts it (RFC 5780's questions, asked from both ends).

Room: lab. Both ends' sockets are in our hands: the host's live in the host's namespace, the observer's four (two
addresses, two ports) in the core, so no protocol is needed and no answer is guessed. Silence is never waited for at
length: after each packet that may be filtered comes a control packet on the same way that may not, and when that is
here the other is not coming.
"""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise

from ginnel.lab.instance import Lab
from ginnel.lab.kinds import NODE_PORT, SERVER
from ginnel.lab.namespace import Inside
from ginnel.lab.probe_mapping import ASKED, MappingProbe
from ginnel.lab.topology import OBSERVER, Family
from ginnel.lab.traits import NO_V4, SILENT, Filtering, Mapping, Ports, Traits

STUN_PORTS = (3478, 3479)
PATIENCE = 2.0  # for what must come; on an idle machine it takes 0.1 ms
GRACE = 0.03  # after the control packet
TTLS = range(1, 7)
OTHER_TCP = 8443
Address = tuple[str, int]


@dataclass(slots=True)
class Ends:
    """The host's namespace and address, and the observer's sockets: near twins first, the other address last."""

    host: Inside
    address: str
    observer: Inside
    seen_from: list[socket.socket]
    addresses: tuple[str, str]
    open_sockets: ExitStack
    family: socket.AddressFamily = socket.AF_INET

    def udp(self, port: int = 0) -> socket.socket:
        return self.open_sockets.enter_context(self.host.socket(socket.SOCK_DGRAM, (self.address, port), self.family))

    def tcp(self) -> socket.socket:
        return self.host.socket(socket.SOCK_STREAM, (self.address, 0))

    def outside_of(self, inner: socket.socket, server: int) -> Address | None:
        """The address that one of the observer's sockets sees; None when nothing arrives."""
        there = self.seen_from[server]
        question = b"probe %d" % inner.fileno()
        inner.sendto(question, there.getsockname())
        for packet, source in arrivals(there, PATIENCE):
            if packet == question:
                return source[:2]  # IPv6 tells a flow and a scope as well
        return None


def probe(lab: Lab, host: str) -> Traits:
    """Ask a host's network everything. Leaves tracked flows behind: `lab.reset_nats()` afterwards."""
    with ExitStack() as opened:
        seen = probe_v4(lab, host, ends_of(lab, host, 4, opened)) if host in lab.plan.addresses else NO_V4
        if host not in lab.plan.addresses6:
            return seen
        six = ends_of(lab, host, 6, opened)
        return replace(seen, v6=filtering_of(six)[0] if mapping_of(six)[0] == "none" else None)


def ends_of(lab: Lab, host: str, version: Family, opened: ExitStack) -> Ends:
    four = version == 4
    addresses = lab.plan.observer if four else lab.plan.observer6
    observer, family = lab.spaces[OBSERVER], socket.AF_INET if four else socket.AF_INET6
    sockets = [
        opened.enter_context(observer.socket(socket.SOCK_DGRAM, (address, port), family))
        for address in addresses
        for port in STUN_PORTS
    ]
    ours = (lab.plan.addresses if four else lab.plan.addresses6)[host]
    return Ends(lab.spaces[host], ours, observer, sockets, (addresses[0], addresses[1]), opened, family)


def probe_v4(lab: Lab, host: str, ends: Ends) -> Traits:
    tcp_443 = tcp_gets_out(ends)
    other_tcp = other_tcp_gets_out(ends)
    if not udp_gets_out(ends):
        return replace(SILENT, tcp_443=tcp_443, other_tcp=other_tcp)
    opens = port_is_open(ends)
    mapping, ports = mapping_of(ends)
    filtering, steals = filtering_of(ends)
    return Traits(
        udp=True,
        mapping=mapping,
        ports=ports,
        filtering=filtering,
        hairpin=hairpin_of(ends) if mapping != "none" else None,
        early_probe_steals_port=steals if mapping in ("none", "endpoint-independent") else None,
        open_port=opens,
        tcp_443=tcp_443,
        other_tcp=other_tcp,
        routers=routers_of(ends),
        maps_by=mapped_by(ends),
        same_lan=has_neighbour(lab, host, ends),
    )


def arrivals(there: socket.socket, limit: float) -> list[tuple[bytes, Address]]:
    """The next packet if one comes within `limit` seconds, and whatever is queued behind it."""
    found: list[tuple[bytes, Address]] = []
    there.settimeout(limit)
    try:
        while True:
            found.append(there.recvfrom(2048))
            there.setblocking(False)
    except (TimeoutError, BlockingIOError):
        return found


def until_control(inner: socket.socket, control: bytes) -> set[bytes]:
    """All that came up to the control packet and shortly after it."""
    came: set[bytes] = set()
    while control not in came:
        packets = arrivals(inner, PATIENCE)
        if not packets:
            break
        came |= {packet for packet, _ in packets}
    return came | {packet for packet, _ in arrivals(inner, GRACE)}


def mapping_of(ends: Ends) -> tuple[Mapping | None, Ports | None]:
    """One socket, four destinations: does the outside address depend on where the packet goes?"""
    inner = ends.udp()
    local = inner.getsockname()[:2]
    seen = [ends.outside_of(inner, server) for server in range(4)]
    if any(address is None for address in seen):
        return None, None
    outside = [address for address in seen if address is not None]
    numbers = [port for _, port in outside]
    if outside == [local] * 4:
        return "none", "kept"
    mapping: Mapping = "address-and-port-dependent"
    if len(set(outside)) == 1:
        mapping = "endpoint-independent"
    elif outside[0] == outside[1] and outside[2] == outside[3]:
        mapping = "address-dependent"
    if numbers == [local[1]] * 4:
        return mapping, "kept"
    steps = {after - before for before, after in pairwise(numbers)}
    return mapping, "sequential" if steps == {1} else "random"


def filtering_of(ends: Ends) -> tuple[Filtering | None, bool]:
    """Who may answer; and whether the uninvited, spoken to later, see the mapping that the first saw."""
    inner = ends.udp()
    outside = ends.outside_of(inner, 0)
    if outside is None:
        return None, False
    for server, words in ((3, b"far"), (1, b"near"), (0, b"control")):
        ends.seen_from[server].sendto(words, outside)
    came = until_control(inner, b"control")
    steals = ends.outside_of(inner, 3) != outside
    if b"control" not in came:
        return None, steals
    if b"far" in came:
        return "endpoint-independent", steals
    return ("address-dependent" if b"near" in came else "address-and-port-dependent"), steals


def hairpin_of(ends: Ends) -> bool:
    inner, neighbour = ends.udp(), ends.udp()
    outside = ends.outside_of(inner, 0)
    if outside is None:
        return False
    neighbour.sendto(b"hairpin", outside)
    ends.seen_from[0].sendto(b"control", outside)
    return b"hairpin" in until_control(inner, b"control")


def port_is_open(ends: Ends) -> bool:
    """Does UDP 41641 of the outside address reach the host, from somebody it never spoke to?"""
    inner, other = ends.udp(NODE_PORT), ends.udp()
    outside = ends.outside_of(other, 0)
    if outside is None:
        return False
    ends.seen_from[3].sendto(b"uninvited", (outside[0], NODE_PORT))
    ends.seen_from[0].sendto(b"control", outside)
    until_control(other, b"control")
    came = arrivals(inner, GRACE)
    inner.close()
    return any(packet == b"uninvited" for packet, _ in came)


def routers_of(ends: Ends) -> int | None:
    """Hops to the core: the smallest TTL that arrives, less the one that the last link needs."""
    for ttl in TTLS:
        inner = ends.udp()
        inner.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        inner.sendto(b"ttl %d" % ttl, ends.seen_from[0].getsockname())
    came: set[bytes] = set()
    while b"ttl %d" % TTLS[-1] not in came:
        packets = arrivals(ends.seen_from[0], PATIENCE)
        if not packets:
            return None
        came |= {packet for packet, _ in packets}
    return min(int(packet[4:]) for packet in came if packet.startswith(b"ttl ")) - 1


def mapped_by(ends: Ends) -> str | None:
    """The protocols that forward a port, where what nobody asked for then comes in by it."""
    inner = {name: ends.udp() for name in ASKED}
    outside = ends.outside_of(next(iter(inner.values())), 0)
    probing = MappingProbe(ends.host, ends.address)
    found = probing.answers({name: opened.getsockname()[1] for name, opened in inner.items()})
    if outside is None:
        return None
    for name, port in found.items():
        ends.seen_from[3].sendto(b"by " + name.encode(), (outside[0], port))
    said = (f"{name}{'' if arrivals(inner[name], PATIENCE) else ', in vain'}" for name in found)
    return " and ".join(said) or None


def has_neighbour(lab: Lab, host: str, ends: Ends) -> bool:
    """Whether a packet that no router passes on reaches somebody."""
    others = [other for other in lab.host_names() if other not in (host, SERVER) and other in lab.plan.addresses]
    with ExitStack() as opened:
        ears = []
        for other in others:
            ear = lab.spaces[other].socket(socket.SOCK_DGRAM, (lab.addresses[other], 0))
            ears.append(opened.enter_context(ear))
            inner = ends.udp()
            inner.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
            inner.sendto(b"next door", ear.getsockname())
        heard, _, _ = select.select(ears, [], [], GRACE) if ears else ([], [], [])
        return bool(heard)


def tcp_gets_out(ends: Ends) -> bool:
    """TCP to port 443: every kind lets it out, so it is also the control where UDP or another port stays silent."""
    with listener(ends, 443) as there, ends.tcp() as inner:
        inner.settimeout(PATIENCE)
        try:
            inner.connect(there.getsockname())
        except OSError:
            return False
        return True


def other_tcp_gets_out(ends: Ends) -> bool:
    with listener(ends, OTHER_TCP) as there, ends.tcp() as inner:
        inner.setblocking(False)
        inner.connect_ex(there.getsockname())
        tcp_gets_out(ends)
        _, connected, _ = select.select([], [inner], [], GRACE)
        return bool(connected) and inner.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def udp_gets_out(ends: Ends) -> bool:
    there = ends.seen_from[0]
    ends.udp().sendto(b"anybody", there.getsockname())
    tcp_gets_out(ends)
    return bool(arrivals(there, GRACE))


def listener(ends: Ends, port: int) -> socket.socket:
    opened = ends.observer.socket(socket.SOCK_STREAM, (ends.addresses[0], port))
    opened.listen(1)
    return opened
