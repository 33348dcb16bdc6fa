"""The control protocol's messages: register, map, peers, filters, DERP maps (tailscale: tailcfg/tailcfg.go).

Room: wire. JSON bytes become messages and back. No sockets, clocks, randomness or logs come in.

Go's rules hold: member names are Go's, a missing, `null` or empty list says the same unless a field's comment says
otherwise, `null` is the zero value of any member that has one, unknown members are skipped. tailscale-rs writes names
of another case than Go, so requests are read with `decode_request`, which folds case as Go's decoder does and bounds
what strangers may send.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, TypeVar

import msgspec

from ginnel.wire import gojson
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


Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Message(msgspec.Struct, frozen=True, omit_defaults=True, rename=go_name):
    """Members with a default are left out when they hold it (Go's omitempty and omitzero)."""


class Whole(msgspec.Struct, frozen=True, rename=go_name):
    """Every member is always written: tailscale-rs has no defaults for these."""


# --- nodes -----------------------------------------------------------------------------------------------------


class Service(Message, frozen=True):
    proto: str = ""
    port: Int = 0
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
    preferred_derp: Int = 0
    link_type: str = ""
    derp_latency: dict[str, float] | None = None  # "<region>-v4" -> seconds
    firewall_mode: str = ""
    ginnel_unreached: list[Int] | None = None  # ours: regions that cannot be reached; official servers skip it


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
    `key_expiry`: None or year 1 stands for "never"; ask `wall_time`.
    """

    id: Int
    stable_id: str
    name: str  # with the trailing dot
    user: Int
    key: NodeKey
    addresses: list[str]
    key_expiry: Time | None = None
    machine: MachineKey | None = None
    disco_key: DiscoKey | None = None
    allowed_ips: list[str] | None = None
    endpoints: list[str] | None = None
    legacy_derp: str = msgspec.field(default="", name="DERP")
    home_derp: Int = 0
    hostinfo: dict[str, Any] | None = None
    created: Time | None = None
    cap: Int = 0
    tags: list[str] | None = None
    primary_routes: list[str] | None = None
    last_seen: Time | None = None
    online: bool | None = None
    machine_authorized: bool = False
    capabilities: list[str] | None = None
    cap_map: dict[str, list[Any] | None] | None = None
    is_wire_guard_only: bool = False
    is_jailed: bool = False
    expired: bool = False


class PeerChange(Message, frozen=True):
    """A patch of one peer; absent members are unchanged, an empty endpoint list clears."""

    node_id: Int = msgspec.field(name="NodeID")
    derp_region: Int = 0
    cap: Int = 0
    cap_map: dict[str, list[Any] | None] | None = None
    endpoints: list[str] | None = None
    key: NodeKey | None = None
    disco_key: DiscoKey | None = None
    online: bool | None = None
    last_seen: Time | None = None
    key_expiry: Time | None = None


class UserProfile(Message, frozen=True):
    id: Int
    login_name: str
    display_name: str = ""
    profile_pic_url: str = ""


# --- register --------------------------------------------------------------------------------------------------


class RegisterAuth(Message, frozen=True):
    auth_key: str = ""

    def __repr__(self) -> str:
        return f"RegisterAuth({'secret' if self.auth_key else 'none'})"


class RegisterRequest(Message, frozen=True):
    version: Int = 0
    node_key: NodeKey | None = None
    old_node_key: NodeKey | None = None
    nl_key: str = ""
    auth: RegisterAuth | None = None
    expiry: Time | None = None  # year 1: no wish; in the past: log out
    followup: str = ""
    hostinfo: dict[str, Any] | None = None
    ephemeral: bool = False
    tailnet: str = ""


class User(Whole, frozen=True):
    id: Int = 0
    display_name: str = ""


class Login(Whole, frozen=True):
    id: Int = 0
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
    version: Int = 0
    compress: str = ""
    keep_alive: bool = False
    node_key: NodeKey | None = None
    disco_key: DiscoKey | None = None
    stream: bool = False
    omit_peers: bool = False
    read_only: bool = False
    hostinfo: dict[str, Any] | None = None
    endpoints: list[str] | None = None
    endpoint_types: list[Int] | None = None
    debug_flags: list[str] | None = None


class DERPNode(Message, frozen=True):
    name: str
    region_id: Int
    host_name: str
    cert_name: str = ""  # a name, or sha256-raw:<hex of the leaf's DER>
    ipv4: str = ""  # "": ask DNS; not an address, as "none": this family is off
    ipv6: str = ""
    stun_port: Int = 0  # 0: 3478; -1: none
    stun_only: bool = False
    derp_port: Int = 0  # 0: 443
    insecure_for_tests: bool = False
    stun_test_ip: str = ""
    can_port80: bool = False


class DERPRegion(Message, frozen=True):
    region_id: Int
    region_code: str
    region_name: str = ""  # maps written by hand often have none
    latitude: float = 0.0
    longitude: float = 0.0
    avoid: bool = False
    no_measure_no_home: bool = False
    nodes: list[DERPNode] | None = None


class DERPHomeParams(Message, frozen=True):
    region_score: dict[Int, float] | None = None


class DERPMap(Message, frozen=True):
    home_params: DERPHomeParams | None = None
    regions: dict[Int, DERPRegion | None] | None = None
    omit_default_regions: bool = msgspec.field(default=False, name="omitDefaultRegions")


class PortRange(Whole, frozen=True):
    first: Int = 0
    last: Int = 65535


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
    ip_proto: list[Int] | None = None  # nothing: TCP, UDP and both ICMPs
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


class PingRequest(Whole, frozen=True):
    url: str = ""
    url_is_noise: bool = False
    log: bool = False
    types: str = ""
    ip: str = ""
    payload: bytes | msgspec.UnsetType = msgspec.UNSET


class MapResponse(Message, frozen=True):
    """One frame of the map stream; absent members are unchanged (tailscale: tailcfg.MapResponse)."""

    keep_alive: bool = False
    ping_request: PingRequest | None = None
    pop_browser_url: str = ""
    node: Node | None = None
    derp_map: DERPMap | None = None
    peers: list[Node] | None = None  # only a list that is not empty replaces
    peers_changed: list[Node] | None = None
    peers_removed: list[Int] | None = None
    peers_changed_patch: list[PeerChange] | None = None
    peer_seen_change: dict[Int, bool] | None = None
    online_change: dict[Int, bool] | None = None
    dns_config: DNSConfig | None = None
    domain: str = ""
    collect_services: bool | None = None
    packet_filter: list[FilterRule] | None = None  # an empty list blocks everything
    packet_filters: dict[str, list[FilterRule] | None] | None = None
    user_profiles: list[UserProfile] | None = None
    health: list[str] | None = None
    control_time: Time | None = None
    debug: Debug | None = None
    ssh_policy: dict[str, Any] | None = None
    display_messages: dict[str, dict[str, Any] | None] | None = None  # null takes one out, "*" all


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


_BAD = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, BadKey)


def decode(kind: type[M], body: bytes | bytearray | memoryview) -> M:
    """Read a server's message: fast where it is written as Go writes it. Raises Malformed."""
    try:
        return _decoder(kind).decode(body)  # type: ignore[no-any-return]
    except msgspec.ValidationError:
        return _settled(kind, msgspec.json.decode, body)  # null where msgspec wants a value, perhaps
    except _BAD as error:
        raise Malformed(f"{kind.__name__}: {error}") from None


def decode_request(kind: type[M], body: bytes | bytearray | memoryview) -> M:
    """Read a stranger's message: any case of the member names, bounded in depth and number. Raises Malformed."""
    return _settled(kind, gojson.loose, body)


def _settled(kind: type[M], parse: Callable[[Any], Any], body: bytes | bytearray | memoryview) -> M:
    try:
        return msgspec.convert(fold_names(kind, parse(body)), kind, dec_hook=_read_key, str_keys=True)
    except _BAD as error:
        raise Malformed(f"{kind.__name__}: {error}") from None


def read_hostinfo(members: dict[str, Any] | None) -> Hostinfo:
    """The members of a Hostinfo object that this project reads. Raises Malformed."""
    try:
        return msgspec.convert(fold_names(Hostinfo, members or {}), Hostinfo, dec_hook=_read_key, str_keys=True)
    except _BAD as error:
        raise Malformed(f"Hostinfo: {error}") from None


def fold_names(kind: type, loose: object) -> object:
    """`loose` as `kind` declares it: names in their exact case, `null` as zero, nothing unknown."""
    return gojson.settle(kind, loose) if isinstance(loose, dict) else loose


# --- time ------------------------------------------------------------------------------------------------------

GO_ZERO_TIME = datetime(1, 1, 1, tzinfo=UTC)
_LAST_SECOND = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


def wall_time(stamp: datetime | None) -> WallTime | None:
    """Seconds since 1970, or None where Go means "no time" (absent, or year 1)."""
    if stamp is None or stamp.year <= 1:
        return None
    return WallTime(stamp.timestamp())


def stamp(time: WallTime | None) -> datetime | None:
    """What can be written in RFC 3339 for any time at all: `9999-12-31T23:59:59-12:00` is read as a time in the year
    10000, and one such expiry must not stop the maps of everybody who sees its node."""
    return None if time is None else datetime.fromtimestamp(min(max(time, 0.0), _LAST_SECOND), UTC)
