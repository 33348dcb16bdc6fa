"""The control protocol's messages: register, map, peers, filters, DERP maps (tailscale: tailcfg/tailcfg.go).

Room: wire. JSON bytes become messages and back. No sockets, clocks, randomness or logs come in.

Go's rules hold: member names are Go's, a missing, `null` or empty list says the same unless a field's comment says
otherwise, unknown members are skipped. Python clients of ours write exact names; tailscale-rs writes names of
another case, so requests are read with `decode_request`, which folds case as Go's decoder does.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar, get_args

import msgspec

from ginnel.wire.read import Malformed
from ginnel.words import BadKey, ChallengeKey, DiscoKey, MachineKey, NodeKey, WallTime

_ACRONYMS = {
    "acl": "ACL", "api": "API", "arch": "Arch", "derp": "DERP", "dns": "DNS", "id": "ID", "ip": "IP", "ips": "IPs",
    "ipn": "IPN", "ipv4": "IPv4", "ipv6": "IPv6", "nl": "NL", "os": "OS", "pcp": "PCP", "pic": "Pic", "pmp": "PMP",
    "ssh": "SSH", "stun": "STUN", "tka": "TKA", "udp": "UDP", "upnp": "UPnP", "url": "URL", "icmpv4": "ICMPv4",
}  # fmt: skip


def go_name(name: str) -> str:
    """`home_derp` as Go writes it: `HomeDERP`."""
    return "".join(_ACRONYMS.get(part) or part.capitalize() for part in name.split("_"))


class Message(msgspec.Struct, frozen=True, omit_defaults=True, rename=go_name):
    """Members with a default are left out when they hold it (Go's omitempty and omitzero)."""


class Whole(msgspec.Struct, frozen=True, rename=go_name):
    """Every member is always written: tailscale-rs has no defaults for these (control-protocol §14.2)."""


# --- nodes -----------------------------------------------------------------------------------------------------


class Service(Message, frozen=True):
    proto: str = ""
    port: int = 0
    description: str = ""


class NetInfo(Message, frozen=True):
    """What a node found out about its network; the optional booleans are true, false or unknown."""

    mapping_varies_by_dest_ip: bool | None = None
    working_ipv6: bool | None = msgspec.field(default=None, name="WorkingIPv6")
    os_has_ipv6: bool | None = msgspec.field(default=None, name="OSHasIPv6")
    working_udp: bool | None = None
    working_icmpv4: bool | None = None
    have_port_map: bool = False
    upnp: bool | None = None
    pmp: bool | None = None
    pcp: bool | None = None
    preferred_derp: int = 0
    link_type: str = ""
    derp_latency: dict[str, float] | None = None  # "<region>-v4" -> seconds
    firewall_mode: str = ""


class Hostinfo(Message, frozen=True):
    """The members this project reads; a server keeps the whole object as it came (`MapRequest.hostinfo`)."""

    ipn_version: str = ""
    backend_log_id: str = ""
    os: str = ""
    os_version: str = ""
    hostname: str = ""
    package: str = ""
    device_model: str = ""
    go_arch: str = ""
    machine: str = ""
    routable_ips: list[str] | None = None
    request_tags: list[str] | None = None
    services: list[Service] | None = None
    net_info: NetInfo | None = None
    ssh_host_keys: list[str] | None = msgspec.field(default=None, name="sshHostKeys")
    shields_up: bool = False
    userspace: bool | None = None
    userspace_router: bool | None = None
    no_logs_no_support: bool = False


class Node(Message, frozen=True):
    """A machine as the map shows it: the node itself or a peer.

    `allowed_ips`: None stands for "as addresses", an empty list for "nothing is routed".
    `key_expiry`: None or year 1 stands for "never"; ask `expiry_of`.
    """

    id: int
    stable_id: str
    name: str  # with the trailing dot
    user: int
    key: NodeKey
    addresses: list[str]
    key_expiry: datetime | None = None
    machine: MachineKey | None = None
    disco_key: DiscoKey | None = None
    allowed_ips: list[str] | None = None
    endpoints: list[str] | None = None
    legacy_derp: str = msgspec.field(default="", name="DERP")
    home_derp: int = 0
    hostinfo: dict[str, Any] | None = None
    created: datetime | None = None
    cap: int = 0
    tags: list[str] | None = None
    primary_routes: list[str] | None = None
    last_seen: datetime | None = None
    online: bool | None = None
    machine_authorized: bool = False
    capabilities: list[str] | None = None
    cap_map: dict[str, list[Any] | None] | None = None
    is_wire_guard_only: bool = False
    is_jailed: bool = False
    expired: bool = False


class PeerChange(Message, frozen=True):
    """A patch of one peer; absent members are unchanged, an empty endpoint list clears."""

    node_id: int = msgspec.field(name="NodeID")
    derp_region: int = 0
    cap: int = 0
    cap_map: dict[str, list[Any] | None] | None = None
    endpoints: list[str] | None = None
    key: NodeKey | None = None
    disco_key: DiscoKey | None = None
    online: bool | None = None
    last_seen: datetime | None = None
    key_expiry: datetime | None = None


class UserProfile(Message, frozen=True):
    id: int
    login_name: str
    display_name: str = ""
    profile_pic_url: str = ""


# --- register --------------------------------------------------------------------------------------------------


class RegisterAuth(Message, frozen=True):
    auth_key: str = ""


class RegisterRequest(Message, frozen=True):
    version: int = 0
    node_key: NodeKey | None = None
    old_node_key: NodeKey | None = None
    nl_key: str = ""
    auth: RegisterAuth | None = None
    expiry: datetime | None = None  # year 1: no wish; in the past: log out
    followup: str = ""
    hostinfo: dict[str, Any] | None = None
    ephemeral: bool = False
    tailnet: str = ""


class User(Whole, frozen=True):
    id: int = 0
    display_name: str = ""


class Login(Whole, frozen=True):
    id: int = 0
    provider: str = ""
    login_name: str = ""
    display_name: str = ""


class RegisterResponse(Whole, frozen=True):
    user: User = User()
    login: Login = Login()
    node_key_expired: bool = False
    machine_authorized: bool = False
    auth_url: str = ""
    error: str = ""


# --- map -------------------------------------------------------------------------------------------------------


class MapRequest(Message, frozen=True):
    version: int = 0
    compress: str = ""
    keep_alive: bool = False
    node_key: NodeKey | None = None
    disco_key: DiscoKey | None = None
    stream: bool = False
    omit_peers: bool = False
    read_only: bool = False
    hostinfo: dict[str, Any] | None = None
    endpoints: list[str] | None = None
    endpoint_types: list[int] | None = None
    debug_flags: list[str] | None = None


class DERPNode(Message, frozen=True):
    name: str
    region_id: int
    host_name: str
    cert_name: str = ""  # a name, or sha256-raw:<hex of the leaf's DER>
    ipv4: str = ""  # "": ask DNS; not an address, as "none": this family is off
    ipv6: str = ""
    stun_port: int = 0  # 0: 3478; -1: none
    stun_only: bool = False
    derp_port: int = 0  # 0: 443
    insecure_for_tests: bool = False
    stun_test_ip: str = ""
    can_port80: bool = False


class DERPRegion(Message, frozen=True):
    region_id: int
    region_code: str
    region_name: str
    latitude: float = 0.0
    longitude: float = 0.0
    avoid: bool = False
    no_measure_no_home: bool = False
    nodes: list[DERPNode] | None = None


class DERPHomeParams(Message, frozen=True):
    region_score: dict[int, float] | None = None


class DERPMap(Message, frozen=True):
    home_params: DERPHomeParams | None = None
    regions: dict[int, DERPRegion | None] | None = None
    omit_default_regions: bool = msgspec.field(default=False, name="omitDefaultRegions")


class PortRange(Whole, frozen=True):
    first: int = 0
    last: int = 65535


class NetPortRange(Whole, frozen=True):
    ip: str
    ports: PortRange = PortRange()


class CapGrant(Message, frozen=True):
    dsts: list[str]
    caps: list[str] | None = None
    cap_map: dict[str, list[Any] | None] | None = None


class FilterRule(Message, frozen=True):
    src_ips: list[str] = msgspec.field(name="SrcIPs")
    dst_ports: list[NetPortRange] | None = None
    ip_proto: list[int] | None = None  # nothing: TCP, UDP and both ICMPs
    cap_grant: list[CapGrant] | None = None


class Resolver(Message, frozen=True):
    addr: str = ""
    bootstrap_resolution: list[str] | None = None


class DNSRecord(Message, frozen=True):
    name: str
    type: str = ""
    value: str = ""


class DNSConfig(Message, frozen=True):
    resolvers: list[Resolver] | None = None
    routes: dict[str, list[Resolver] | None] | None = None
    fallback_resolvers: list[Resolver] | None = None
    domains: list[str] | None = None
    proxied: bool = False
    extra_records: list[DNSRecord] | None = None
    cert_domains: list[str] | None = None


class Debug(Message, frozen=True):
    disable_log_tail: bool = False
    sleep_seconds: float = 0.0


class PingRequest(Message, frozen=True):
    url: str = ""
    url_is_noise: bool = False
    log: bool = False
    types: str = ""
    ip: str = ""
    payload: bytes | None = None


class MapResponse(Message, frozen=True):
    """One frame of the map stream; absent members are unchanged (control-protocol §6.5)."""

    keep_alive: bool = False
    ping_request: PingRequest | None = None
    pop_browser_url: str = ""
    node: Node | None = None
    derp_map: DERPMap | None = None
    peers: list[Node] | None = None  # only a list that is not empty replaces
    peers_changed: list[Node] | None = None
    peers_removed: list[int] | None = None
    peers_changed_patch: list[PeerChange] | None = None
    peer_seen_change: dict[int, bool] | None = None
    online_change: dict[int, bool] | None = None
    dns_config: DNSConfig | None = None
    domain: str = ""
    collect_services: bool | None = None
    packet_filter: list[FilterRule] | None = None  # an empty list blocks everything
    packet_filters: dict[str, list[FilterRule] | None] | None = None
    user_profiles: list[UserProfile] | None = None
    health: list[str] | None = None
    control_time: datetime | None = None
    debug: Debug | None = None


class ServerKeys(msgspec.Struct, frozen=True, rename="camel"):
    """`GET /key`. Both members are always there."""

    legacy_public_key: MachineKey
    public_key: MachineKey


class EarlyNoise(msgspec.Struct, frozen=True):
    node_key_challenge: ChallengeKey = msgspec.field(name="nodeKeyChallenge")


# --- bytes to messages and back --------------------------------------------------------------------------------

M = TypeVar("M", bound=msgspec.Struct)


def _write_key(value: object) -> str:
    if isinstance(value, MachineKey | NodeKey | DiscoKey | ChallengeKey):
        return str(value)
    raise NotImplementedError(f"no JSON form for {type(value).__name__}")


def _read_key(kind: type, value: object) -> object:
    if kind not in (MachineKey, NodeKey, DiscoKey, ChallengeKey):
        raise NotImplementedError(f"no JSON form for {kind.__name__}")
    if not isinstance(value, str):
        raise BadKey("expected a key's text")
    return kind.parse(value)


_ENCODER = msgspec.json.Encoder(enc_hook=_write_key)


@cache
def _decoder(kind: type) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=_read_key)


def encode(message: msgspec.Struct | dict[str, Any] | list[Any]) -> bytes:
    """Compact JSON, not HTML-escaped, as tailscale-rs needs it."""
    return _ENCODER.encode(message)


def decode(kind: type[M], body: bytes | bytearray | memoryview) -> M:
    """Read a message whose member names have Go's exact case. Raises Malformed."""
    try:
        return _decoder(kind).decode(body)  # type: ignore[no-any-return]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, BadKey) as error:
        raise Malformed(f"{kind.__name__}: {error}") from None


def decode_request(kind: type[M], body: bytes | bytearray | memoryview) -> M:
    """Read a message whose member names may differ in case, as Go does. Raises Malformed."""
    try:
        loose = msgspec.json.decode(body)
        return msgspec.convert(fold_names(kind, loose), kind, dec_hook=_read_key)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, BadKey) as error:
        raise Malformed(f"{kind.__name__}: {error}") from None


def read_hostinfo(members: dict[str, Any] | None) -> Hostinfo:
    """The members of a Hostinfo object that this project reads. Raises Malformed."""
    try:
        return msgspec.convert(fold_names(Hostinfo, members or {}), Hostinfo, dec_hook=_read_key)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Malformed(f"Hostinfo: {error}") from None


def fold_names(kind: type, loose: object) -> object:
    """Rename the members of `loose`, and of the structures in it, to the exact case that `kind` declares."""
    if not isinstance(loose, dict):
        return loose
    exact, folded = _names(kind)
    members: dict[str, object] = {}
    for name, value in loose.items():
        known = name if name in exact else folded.get(name.lower())
        if known is None or (known != name and known in loose):
            continue  # unknown, or an exact match is there and wins
        inner = exact[known]
        members[known] = fold_names(inner, value) if inner is not None else value
    return members


@cache
def _names(kind: type) -> tuple[dict[str, type | None], dict[str, str]]:
    """Member name -> the structure it holds (None: a plain value), and lower-case name -> member name."""
    exact: dict[str, type | None] = {}
    for member in msgspec.structs.fields(kind):
        held = [t for t in (member.type, *get_args(member.type)) if _is_struct(t)]
        exact[member.encode_name] = held[0] if held else None
    return exact, {name.lower(): name for name in exact}


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


# --- time ------------------------------------------------------------------------------------------------------

GO_ZERO_TIME = datetime(1, 1, 1, tzinfo=UTC)


def wall_time(stamp: datetime | None) -> WallTime | None:
    """Seconds since 1970, or None where Go means "no time" (absent, or year 1)."""
    if stamp is None or stamp.year <= 1:
        return None
    return WallTime(stamp.timestamp())


def stamp(time: WallTime | None) -> datetime | None:
    return None if time is None else datetime.fromtimestamp(time, UTC)
