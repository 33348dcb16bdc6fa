"""What a packet is made of when it meets a rule: each field a set of numbers, a packet's class a box of such sets.

Room: core. The numbers are the kernel's (linux/netfilter.h, linux/rtnetlink.h). An interface's name is the number that
its 16 bytes make, so that `eth*` is one interval. A field that begins with `?` is a match that is not understood,
one with `%` a limit: either may turn out both ways.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network

from ginnel.core.firewall.lint.ints import Ints, both, joined, minus, point, span

IP4, IP6 = 2, 10  # NFPROTO_*
NFPROTO = {4: IP4, 6: IP6}
PROTOCOLS = {
    "icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "udp": 17, "dccp": 33, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51,
    "icmpv6": 58, "ipv6-icmp": 58, "icmp6": 58, "ospf": 89, "pim": 103, "ipcomp": 108, "comp": 108, "vrrp": 112,
    "sctp": 132, "udplite": 136, "mh": 135, "ipv6-mh": 135,
}  # fmt: skip
STATES = {"invalid": 0, "established": 1, "related": 2, "new": 3, "untracked": 4}
DIRECTIONS = {"original": 0, "reply": 1}
TYPES = {"unspec": 0, "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6,
         "unreachable": 7, "prohibit": 8}  # fmt: skip
PACKET_TYPES = {"host": 0, "unicast": 0, "broadcast": 1, "multicast": 2, "other": 3}
FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "ece": 64, "cwr": 128}


class Field(StrEnum):
    NFPROTO = "nfproto"
    L4PROTO = "l4proto"
    SADDR4 = "ip saddr"
    DADDR4 = "ip daddr"
    SADDR6 = "ip6 saddr"
    DADDR6 = "ip6 daddr"
    SPORT = "sport"
    DPORT = "dport"
    IIF = "iifname"
    OIF = "oifname"
    CT_STATE = "ct state"
    CT_DIRECTION = "ct direction"
    TCP_FLAGS = "tcp flags"
    MARK = "mark"
    CT_MARK = "ct mark"
    PACKET_TYPE = "pkttype"
    SOCKET_UID = "skuid"
    TO_TYPE = "fib daddr type"
    FROM_TYPE = "fib saddr type"


Box = dict[str, Ints]
"""A class of packets: each field's values; a field that is not named may have any. Never changed once made."""

WIDTH = {Field.SADDR4: 32, Field.DADDR4: 32, Field.SADDR6: 128, Field.DADDR6: 128, Field.SPORT: 16, Field.DPORT: 16,
         Field.IIF: 128, Field.OIF: 128, Field.TCP_FLAGS: 8}  # fmt: skip
ALL: dict[str, Ints] = {field: span(0, (1 << WIDTH.get(field, 32)) - 1) for field in Field}
EITHER = span(0, 1)
TOLD_APART = frozenset({Field.SADDR4, Field.DADDR4, Field.SADDR6, Field.DADDR6, Field.SPORT, Field.DPORT,
                        Field.IIF, Field.OIF})  # fmt: skip
"""The fields by which a user can be told which packets pass; a difference by any other is not known beforehand."""


def universe(field: str) -> Ints:
    return ALL.get(field, EITHER)


def split(box: Box, case: Box) -> tuple[Box | None, list[Box]]:
    """(the part of the box that is in the case, the rest in separate boxes)."""
    inside, outside = box, []
    for field, wanted in case.items():
        have = inside[field] if field in inside else universe(field)
        hit = both(have, wanted)
        if not hit:
            return None, [box]
        if hit == have:
            continue
        outside.append({**inside, field: minus(have, wanted)})
        inside = {**inside, field: hit}
    return inside, outside


def meet(one: Box, other: Box, fields: frozenset[str] | frozenset[Field]) -> bool:
    """Whether a packet can be in both, judged by these fields alone."""
    return all(both(one[f], other[f]) for f in fields if f in one and f in other)


# --- interfaces ------------------------------------------------------------------------------------------------

NAME_BYTES = 16
VIRTUAL = ("docker", "br-", "virbr", "veth", "cni", "flannel", "cali", "tailscale", "ginnel", "wg", "tun", "tap", "lxc",
           "lxd", "podman", "cilium", "kube", "vnet", "dummy", "nebula", "zt")  # fmt: skip
"""Interfaces that lead to containers and into tunnels: no way to the internet."""


def interface(name: str) -> Ints:
    """`*` at the end stands for any rest."""
    if name.endswith("*") and not name.endswith("\\*"):
        start = name[:-1].encode()[:NAME_BYTES]
        low = int.from_bytes(start.ljust(NAME_BYTES, b"\0"), "big")
        return span(low, int.from_bytes(start.ljust(NAME_BYTES, b"\xff"), "big"))
    return point(int.from_bytes(name.replace("\\*", "*").encode()[:NAME_BYTES].ljust(NAME_BYTES, b"\0"), "big"))


NO_INTERFACE = point(0)
OUTSIDE = minus(
    ALL[Field.IIF], joined([*NO_INTERFACE, *interface("lo"), *(i for name in VIRTUAL for i in interface(name + "*"))])
)


def interface_text(values: Ints) -> str:
    names = [_interface_name(low, high) for low, high in values[:4]]
    return ", ".join(n for n in names if n) if len(values) <= 3 and all(names) else "other interfaces"


def _interface_name(low: int, high: int) -> str:
    start = low.to_bytes(NAME_BYTES, "big").rstrip(b"\0")
    if low == high:
        return start.decode(errors="replace")
    if high == int.from_bytes(start.ljust(NAME_BYTES, b"\xff"), "big") and start:
        return start.decode(errors="replace") + "*"
    return ""


# --- addresses -------------------------------------------------------------------------------------------------


def network(value: IPv4Network | IPv6Network) -> Ints:
    return span(int(value.network_address), int(value.broadcast_address))


def _all(*names: str) -> Ints:
    return joined(i for name in names for i in network(ip_network(name)))


PRIVATE = {
    4: _all("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"),
    6: _all("fc00::/7", "fe80::/10"),
}
_NOBODY = {
    4: _all("0.0.0.0/8", "127.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
            "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
    6: _all("::/3", "4000::/2", "8000::/1", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
}  # fmt: skip
PUBLIC = {
    4: minus(ALL[Field.SADDR4], joined([*_NOBODY[4], *PRIVATE[4]])),
    6: minus(ALL[Field.SADDR6], _NOBODY[6]),
}
"""Addresses that hosts on the internet have (IANA's special-purpose registries left out)."""
