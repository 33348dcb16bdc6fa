"""What a node says of itself, made safe to hand on: one bad member costs its owner that member, nobody the map.

Room: core. Peers decode what we forward, and one member of the wrong type makes an official client drop the whole
frame; so only members whose type is known go on, each checked by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import islice
from typing import Any

import msgspec

from ginnel.core.control import limits
from ginnel.wire.tailcfg import Hostinfo, Message, NetInfo, Service, fold_names
from ginnel.words import Endpoint

_UNSAFE = re.compile(r'["\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
_PEER_API = ("peerapi4", "peerapi6", "peerapi-dns-proxy")
_TUNNEL_V6 = bytes.fromhex("fd7a115ca1e0")


class Stated(Message, frozen=True):
    """The members of Hostinfo that are kept; a subset of them goes to peers."""

    ipn_version: str = ""
    backend_log_id: str = ""
    os: str = ""
    os_version: str = ""
    hostname: str = ""
    distro: str = ""
    distro_version: str = ""
    device_model: str = ""
    package: str = ""
    app: str = ""
    go_arch: str = ""
    machine: str = ""
    routable_ips: list[str] | None = None
    request_tags: list[str] | None = None
    services: list[Service] | None = None
    ssh_host_keys: list[str] | None = msgspec.field(default=None, name="sshHostKeys")
    shields_up: bool = False
    userspace: bool | None = None
    app_connector: bool | None = None


FOR_PEERS = ("IPNVersion", "OS", "OSVersion", "Hostname", "DeviceModel", "Services", "sshHostKeys", "ShieldsUp",
             "Userspace", "AppConnector")  # fmt: skip
"""Peers need no more: what a machine runs on, and where its peer API listens."""


def safe_text(text: str, limit: int = limits.MAX_TEXT) -> str:
    """Without quotes, backslashes and control characters: tailscale-rs cannot read an escaped string. What is far
    longer than the limit is not even looked at."""
    return _UNSAFE.sub("", text[: 4 * limit])[:limit]


def kept_hostinfo(members: dict[str, Any] | None) -> dict[str, Any]:
    """The members of a Hostinfo object that are well formed, each checked alone. Never raises."""
    loose = fold_names(Stated, members or {})
    assert isinstance(loose, dict)
    kept: dict[str, Any] = {}
    for member in msgspec.structs.fields(Stated):
        value = loose.get(member.encode_name)
        if value is None:
            continue
        try:
            read = msgspec.convert(value, member.type)
        except (msgspec.ValidationError, RecursionError):
            continue
        clean = _clean(member.encode_name, read)
        if clean not in ("", None, [], False):
            kept[member.encode_name] = clean
    return kept


def _clean(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return safe_text(value, limits.MAX_HOST_NAME if name == "Hostname" else limits.MAX_TEXT)
    if name == "Services":
        return [msgspec.to_builtins(s) for s in _services(value)]
    if name == "RoutableIPs":
        return _prefixes(value)
    if isinstance(value, list):
        return [safe_text(text) for text in value[: limits.MAX_TAGS]]
    return value


def _services(services: Iterable[Service]) -> list[Service]:
    """Only the peer API's: listening ports are collected by nobody here."""
    known = (s for s in services if s.proto in _PEER_API and 0 <= s.port <= 0xFFFF)
    return [Service(proto=s.proto, port=s.port) for s in known][: limits.MAX_SERVICES]


def _prefixes(texts: Iterable[str]) -> list[str]:
    kept = []
    for text in list(texts)[: limits.MAX_ROUTES]:
        try:
            kept.append(str(ip_network(text)))
        except ValueError:
            continue
    return kept


def for_peers(hostinfo: dict[str, Any]) -> dict[str, Any]:
    return {name: hostinfo[name] for name in FOR_PEERS if name in hostinfo}


def hostname_of(hostinfo: dict[str, Any]) -> str:
    return str(hostinfo.get("Hostname", ""))


def home_of(members: dict[str, Any] | None) -> int:
    """The home region that a Hostinfo names; 0: it says nothing, so what was known stays."""
    loose = fold_names(Hostinfo, members or {})
    net_info = loose.get("NetInfo") if isinstance(loose, dict) else None
    if not isinstance(net_info, dict):
        return 0
    try:
        home = msgspec.convert(fold_names(NetInfo, net_info), NetInfo).preferred_derp
    except (msgspec.ValidationError, RecursionError):
        return 0
    return home if 0 < home <= 0xFFFF else 0


def kept_endpoints(texts: Iterable[str]) -> tuple[str, ...]:
    """Endpoints that peers may try, in the node's order: no duplicates, nothing that is local to one machine or link,
    nothing inside the mesh itself."""
    kept: dict[str, None] = {}
    for text in islice(texts, 4 * limits.MAX_ENDPOINTS):  # reading one takes 10 µs, and a request has room for 50,000
        try:
            endpoint = Endpoint.parse(text)
        except ValueError:
            continue
        if _reachable(endpoint):
            kept[str(endpoint)] = None
    return tuple(kept)[: limits.MAX_ENDPOINTS]


def _reachable(endpoint: Endpoint) -> bool:
    ip = endpoint.ip
    if endpoint.port == 0 or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        return False
    if isinstance(ip, IPv4Address):
        return ip != IPv4Address("255.255.255.255")
    return isinstance(ip, IPv6Address) and ip.packed[:6] != _TUNNEL_V6
