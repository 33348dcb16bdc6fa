"""`status` and `whois` as JSON, member for member as Tailscale has them (tailscale: ipn/ipnstate/ipnstate.go).

Room: shell. What was observed goes in, dictionaries come out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from ginnel import __version__
from ginnel.core.node.netmap import NetMap
from ginnel.core.node.path_policy import PathPolicy
from ginnel.core.node.status import MeshStatus, PeerStatus
from ginnel.wire.tailcfg import Node, UserProfile, read_hostinfo
from ginnel.words import NodeKey

ZERO_TIME = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Counters:
    """One peer's traffic; times in seconds since 1970, 0.0 for never."""

    tx_bytes: int = 0
    rx_bytes: int = 0
    last_handshake: float = 0.0
    last_sent: float = 0.0


@dataclass(frozen=True, slots=True)
class Observed:
    """All that a status is made of."""

    state: str
    auth_url: str
    have_node_key: bool
    node_key: NodeKey | None
    host_name: str
    netmap: NetMap
    mesh: MeshStatus | None
    counters: Mapping[NodeKey, Counters]
    health: Sequence[str]


def status(seen: Observed, *, peers: bool) -> dict[str, Any]:
    """The answer of `GET status`."""
    netmap = seen.netmap
    suffix = magic_dns_suffix(netmap)
    shown = sorted(netmap.peers.values(), key=lambda node: node.id) if peers else []
    itself = self_json(seen)
    return {
        "Version": __version__,
        "TUN": True,
        "BackendState": seen.state,
        "HaveNodeKey": seen.have_node_key,
        "AuthURL": seen.auth_url,
        "TailscaleIPs": itself["TailscaleIPs"],
        "Self": itself,
        "ExitNodeStatus": None,
        "Health": list(seen.health),
        "MagicDNSSuffix": suffix,
        "CurrentTailnet": None
        if netmap.self_node is None
        else {
            "Name": netmap.domain,
            "MagicDNSSuffix": suffix,
            "MagicDNSEnabled": netmap.dns is not None and netmap.dns.proxied,
        },
        "CertDomains": (netmap.dns.cert_domains if netmap.dns else None) or None,
        "ExtraRecords": None,
        "Peer": {str(node.key): peer_json(node, seen) for node in shown} if shown else None,
        "User": {str(number): user_json(profile) for number, profile in sorted(netmap.users.items())} or None,
        "ClientVersion": None,
    }


def self_json(seen: Observed) -> dict[str, Any]:
    node = seen.netmap.self_node
    if node is None:
        blank = _blank()
        blank["HostName"] = seen.host_name
        blank["PublicKey"] = str(seen.node_key or NodeKey.zero())
        return blank
    relay = seen.mesh.home_code if seen.mesh is not None else ""
    addresses = [str(endpoint) for endpoint, _ in seen.mesh.endpoints] if seen.mesh is not None else []
    return _machine(node) | {
        "Addrs": addresses,
        "Relay": relay,
        "Online": seen.state == "Running",
        "InEngine": False,
        "InMagicSock": False,
        "CapMap": node.cap_map or {},
    }


def peer_json(node: Node, seen: Observed) -> dict[str, Any]:
    path = seen.mesh.peers.get(node.key) if seen.mesh is not None else None
    count = seen.counters.get(node.key, Counters())
    own = {} if path is None or path.policy is PathPolicy.AUTO else {"PathPolicy": str(path.policy)}
    return (
        _machine(node)
        | own
        | {
            "Addrs": [str(endpoint) for endpoint in path.candidates] if path is not None else node.endpoints or [],
            "CurAddr": _cur_addr(path),
            "Relay": path.relay if path is not None else "",
            "RxBytes": count.rx_bytes,
            "TxBytes": count.tx_bytes,
            "LastWrite": rfc3339(count.last_sent),
            "LastHandshake": rfc3339(count.last_handshake),
            "Active": path is not None and path.active,
            "InMagicSock": path is not None,
            "InEngine": node.key in seen.counters,
        }
    )


def paths(mesh: MeshStatus) -> dict[str, Any]:
    """By node key: each way that is in use, limited or shunned, as `ginnel path` shows it."""
    return {
        str(key): {
            "Policy": str(path.policy),
            "CurAddr": _cur_addr(path),
            "LatencySeconds": path.latency,
            "WireMTU": path.wire_mtu,
            "Shunned": {str(endpoint): str(fault) for endpoint, fault in path.shunned},
        }
        for key, path in mesh.peers.items()
        if path.cur_addr is not None or path.shunned or path.policy is not PathPolicy.AUTO
    }


def _cur_addr(path: PeerStatus | None) -> str:
    return str(path.cur_addr) if path is not None and path.cur_addr is not None else ""


def _machine(node: Node) -> dict[str, Any]:
    info = read_hostinfo(node.hostinfo)
    allowed = node.addresses if node.allowed_ips is None else node.allowed_ips
    members = _blank() | {
        "ID": node.stable_id,
        "NodeID": node.id,
        "PublicKey": str(node.key),
        "HostName": info.hostname,
        "DNSName": node.name,
        "OS": info.os,
        "UserID": node.user,
        "TailscaleIPs": [prefix.partition("/")[0] for prefix in node.addresses],
        "AllowedIPs": allowed,
        "Created": _stamp(node.created),
        "LastSeen": _stamp(node.last_seen),
        "Online": node.online is True,
        "ExitNodeOption": "0.0.0.0/0" in allowed and "::/0" in allowed,
        "InNetworkMap": True,
    }
    if node.tags:
        members["Tags"] = node.tags
    if node.primary_routes:
        members["PrimaryRoutes"] = node.primary_routes
    if node.expired:
        members["Expired"] = True
    if node.key_expiry is not None and node.key_expiry.year > 1:
        members["KeyExpiry"] = _stamp(node.key_expiry)
    return members


def _blank() -> dict[str, Any]:
    return {
        "ID": "",
        "NodeID": 0,
        "PublicKey": "",
        "HostName": "",
        "DNSName": "",
        "OS": "",
        "UserID": 0,
        "TailscaleIPs": [],
        "Addrs": [],
        "CurAddr": "",
        "Relay": "",
        "PeerRelay": "",
        "RxBytes": 0,
        "TxBytes": 0,
        "Created": ZERO_TIME,
        "LastWrite": ZERO_TIME,
        "LastSeen": ZERO_TIME,
        "LastHandshake": ZERO_TIME,
        "Online": False,
        "ExitNode": False,
        "ExitNodeOption": False,
        "Active": False,
        "PeerAPIURL": None,
        "TaildropTarget": 0,
        "NoFileSharingReason": "",
        "InNetworkMap": False,
        "InMagicSock": False,
        "InEngine": False,
    }


def user_json(profile: UserProfile) -> dict[str, Any]:
    return {"ID": profile.id, "LoginName": profile.login_name, "DisplayName": profile.display_name}


def whois(node: Node, netmap: NetMap) -> dict[str, Any]:
    """The answer of `GET whois`."""
    profile = netmap.users.get(node.user)
    user = user_json(profile) if profile is not None else {"ID": node.user, "LoginName": "", "DisplayName": ""}
    members = msgspec.to_builtins(node, enc_hook=str)
    if "AllowedIPs" not in members:
        members["AllowedIPs"] = node.addresses
    return {"Node": members, "UserProfile": user, "CapMap": node.cap_map or {}}


def magic_dns_suffix(netmap: NetMap) -> str:
    """Everything after the first label of our own name."""
    name = netmap.self_node.name if netmap.self_node is not None else ""
    return name.rstrip(".").partition(".")[2]


def rfc3339(seconds: float) -> str:
    return ZERO_TIME if seconds <= 0 else _stamp(datetime.fromtimestamp(seconds, UTC))


def _stamp(time: datetime | None) -> str:
    if time is None or time.year <= 1:
        return ZERO_TIME
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
