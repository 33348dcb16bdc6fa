"""Left-hand sides of nft's JSON: which field of the packet a match looks at, and what else it takes for granted.

Room: core. `udp dport` holds only for UDP though the JSON does not say so.
"""

from __future__ import annotations

from typing import Any

from ginnel.core.firewall.lint.fields import IP4, IP6, PROTOCOLS, Box, Field
from ginnel.core.firewall.lint.ints import joined, point
from ginnel.core.firewall.lint.nft_values import NotUnderstood

TCP_OR_UDP = joined([(6, 6), (17, 17)])
META = {
    "l4proto": Field.L4PROTO, "nfproto": Field.NFPROTO, "iifname": Field.IIF, "iif": Field.IIF, "oifname": Field.OIF,
    "oif": Field.OIF, "mark": Field.MARK, "pkttype": Field.PACKET_TYPE, "skuid": Field.SOCKET_UID,
    "protocol": Field.NFPROTO,
}  # fmt: skip
CT = {"state": Field.CT_STATE, "direction": Field.CT_DIRECTION, "mark": Field.CT_MARK}
V4, V6 = {Field.NFPROTO.value: point(IP4)}, {Field.NFPROTO.value: point(IP6)}
PAYLOAD: dict[tuple[str, str], tuple[Field, Box]] = {
    ("ip", "saddr"): (Field.SADDR4, V4),
    ("ip", "daddr"): (Field.DADDR4, V4),
    ("ip", "protocol"): (Field.L4PROTO, V4),
    ("ip6", "saddr"): (Field.SADDR6, V6),
    ("ip6", "daddr"): (Field.DADDR6, V6),
    ("ip6", "nexthdr"): (Field.L4PROTO, V6),
    ("tcp", "flags"): (Field.TCP_FLAGS, {Field.L4PROTO: point(6)}),
    **{
        (name, side): (field, {Field.L4PROTO.value: protocols})
        for name, protocols in {"tcp": point(6), "udp": point(17), "th": TCP_OR_UDP}.items()
        for side, field in {"sport": Field.SPORT, "dport": Field.DPORT}.items()
    },
}
NEVER_OURS = {name: number for name, number in PROTOCOLS.items() if name not in ("tcp", "udp")}
UNTOUCHED = frozenset({"dnat", "snat", "expected", "dying"})
"""ct status of no packet that goes to this host's own sockets and meets no translation."""

Key = tuple[str, Box]
"""(field, what must hold besides)."""


class Never(Exception):
    """No packet of the mesh has this: ICMP, ARP and the like."""


def key(left: Any) -> Key:
    """Raises NotUnderstood, Never."""
    match left:
        case {"meta": {"key": str(name)}} if name in META:
            return META[name], {}
        case {"payload": {"protocol": str(protocol), "field": str(name)}}:
            return _payload(protocol, name)
        case {"ct": {"key": str(name), **more}} if name in CT and "dir" not in more:
            return CT[name], {}
        case {"fib": {"result": "type", "flags": ["daddr"]}}:
            return Field.TO_TYPE, {}
        case {"fib": {"result": "type", "flags": ["saddr"]}}:
            return Field.FROM_TYPE, {}
        case {"exthdr": {"name": "rt" | "mh"}}:  # routing headers are the network's, mobility nobody's
            raise Never
    raise NotUnderstood


def _payload(protocol: str, name: str) -> Key:
    if (protocol, name) in PAYLOAD:
        return PAYLOAD[protocol, name]
    if protocol in NEVER_OURS or protocol in ("arp", "vlan"):
        raise Never
    raise NotUnderstood


def route_back(left: Any, right: Any) -> bool | None:
    """For `fib saddr . iif oif exists`: whether it matches where routes are in order. None: not of that kind."""
    match left:
        case {"fib": {"result": "oif" | "oifname", "flags": list(flags)}} if "saddr" in flags:
            return bool(right) if isinstance(right, bool) else None
    return None
