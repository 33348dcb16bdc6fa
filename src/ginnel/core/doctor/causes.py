"""What can be wrong, how bad each is, and what follows from what.

Room: core. The names are a contract: `ginnel doctor --json` has them, docs/doctor.md explains each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class Cause(StrEnum):
    """First what ails one machine, then what ails a pair."""

    DAEMON_DOWN = "daemon-down"
    NO_TUN = "no-tun"
    NOT_LOGGED_IN = "not-logged-in"
    STOPPED = "stopped"
    NEEDS_APPROVAL = "needs-approval"
    KEY_EXPIRED = "key-expired"
    CLOCK_WRONG = "clock-wrong"
    SERVER_CLOCK_WRONG = "server-clock-wrong"
    NO_INTERNET = "no-internet"
    DNS_BROKEN = "dns-broken"
    DNS_LIES = "dns-lies"
    CAPTIVE_PORTAL = "captive-portal"
    TLS_INTERCEPTION = "tls-interception"
    HTTPS_BLOCKED = "https-blocked"
    CONTROL_BLOCKED = "control-blocked"
    CONTROL_DOWN = "control-down"
    CONTROL_REFUSES = "control-refuses"
    RELAY_BLOCKED = "relay-blocked"
    RELAY_DOWN = "relay-down"
    RELAY_REFUSES = "relay-refuses"
    UDP_BLOCKED = "udp-blocked"
    STUN_BLOCKED = "stun-blocked"
    TUNNEL_PORT_BLOCKED = "tunnel-port-blocked"
    PORT_TAKEN = "port-taken"
    HOST_FIREWALL = "host-firewall"
    ROUTE_CLASH = "route-clash"
    CGNAT_CLASH = "cgnat-clash"
    MTU_HOLE = "mtu-hole"
    OLD_VERSION = "old-version"
    PORT80_BLOCKED = "port80-blocked"
    NO_IPV6 = "no-ipv6"
    NOT_LOOKED_AT = "not-looked-at"

    PEER_UNKNOWN = "peer-unknown"
    PEER_OFFLINE = "peer-offline"
    PEER_KEY_EXPIRED = "peer-key-expired"
    POLICY_DENIES = "policy-denies"
    PATH_POLICY_RELAY = "path-policy-relay"
    PATH_POLICY_DIRECT = "path-policy-direct"
    NO_COMMON_RELAY = "no-common-relay"
    PEER_RELAY_BLOCKED = "peer-relay-blocked"
    PEER_UDP_BLOCKED = "peer-udp-blocked"
    PEER_TUNNEL_PORT_BLOCKED = "peer-tunnel-port-blocked"
    PEER_HOST_FIREWALL = "peer-host-firewall"
    HARD_NAT_BOTH = "hard-nat-both"
    HARD_NAT_PAIR = "hard-nat-pair"
    CGNAT_DOUBLE_NAT = "cgnat-double-nat"
    HAIRPIN = "hairpin"
    WIREGUARD_FILTERED = "wireguard-filtered"


class Grade(StrEnum):
    """How bad. NOTE: worth knowing, and nothing is the worse for it."""

    BROKEN = "broken"
    DEGRADED = "degraded"
    NOTE = "note"


HEALTHY = "healthy"
UNKNOWN = "unknown"
"""Nothing was found wrong, and not everything could be looked at."""

_BROKEN = frozenset(
    {
        Cause.DAEMON_DOWN, Cause.NO_TUN, Cause.NOT_LOGGED_IN, Cause.STOPPED, Cause.NEEDS_APPROVAL, Cause.KEY_EXPIRED,
        Cause.NO_INTERNET, Cause.CAPTIVE_PORTAL, Cause.HTTPS_BLOCKED, Cause.PEER_UNKNOWN, Cause.PEER_OFFLINE,
        Cause.PEER_KEY_EXPIRED, Cause.POLICY_DENIES, Cause.PATH_POLICY_DIRECT, Cause.NO_COMMON_RELAY,
    }
)  # fmt: skip
_NOTES = frozenset({Cause.SERVER_CLOCK_WRONG, Cause.PORT80_BLOCKED, Cause.NO_IPV6, Cause.NOT_LOOKED_AT})


def grade_of(cause: Cause) -> Grade:
    if cause in _BROKEN:
        return Grade.BROKEN
    return Grade.NOTE if cause in _NOTES else Grade.DEGRADED


_ALL_TRAFFIC = frozenset(
    {
        Cause.DNS_BROKEN, Cause.HTTPS_BLOCKED, Cause.CONTROL_BLOCKED, Cause.CONTROL_DOWN, Cause.RELAY_BLOCKED,
        Cause.RELAY_DOWN, Cause.UDP_BLOCKED, Cause.STUN_BLOCKED, Cause.PORT80_BLOCKED, Cause.NO_COMMON_RELAY,
        Cause.PEER_OFFLINE, Cause.PEER_RELAY_BLOCKED,
    }
)  # fmt: skip
_RELAYED = frozenset(
    {
        Cause.HARD_NAT_BOTH, Cause.HARD_NAT_PAIR, Cause.CGNAT_DOUBLE_NAT, Cause.HAIRPIN, Cause.PEER_HOST_FIREWALL,
        Cause.PEER_UDP_BLOCKED, Cause.PEER_TUNNEL_PORT_BLOCKED, Cause.WIREGUARD_FILTERED,
    }
)  # fmt: skip

_SILENCE = frozenset({Cause.TUNNEL_PORT_BLOCKED, Cause.PEER_TUNNEL_PORT_BLOCKED})
_ONE_HOST = frozenset({Cause.CONTROL_BLOCKED, Cause.CONTROL_DOWN, Cause.RELAY_BLOCKED, Cause.RELAY_DOWN})

EXPLAINS: dict[Cause, frozenset[Cause]] = {
    Cause.NO_TUN: frozenset({Cause.DAEMON_DOWN}),
    Cause.KEY_EXPIRED: frozenset({Cause.NOT_LOGGED_IN, Cause.CONTROL_REFUSES, Cause.RELAY_REFUSES}),
    Cause.CLOCK_WRONG: frozenset({Cause.TLS_INTERCEPTION, Cause.CONTROL_BLOCKED, Cause.RELAY_BLOCKED,
                                  Cause.CONTROL_REFUSES, Cause.RELAY_REFUSES}),
    Cause.NO_INTERNET: _ALL_TRAFFIC,
    Cause.CAPTIVE_PORTAL: _ALL_TRAFFIC | {Cause.TLS_INTERCEPTION, Cause.DNS_LIES, Cause.NO_INTERNET},
    Cause.TLS_INTERCEPTION: _ONE_HOST | {Cause.HTTPS_BLOCKED, Cause.NO_COMMON_RELAY},
    Cause.DNS_LIES: _ONE_HOST | {Cause.TLS_INTERCEPTION},
    Cause.DNS_BROKEN: _ONE_HOST,
    Cause.HTTPS_BLOCKED: _ONE_HOST | {Cause.NO_COMMON_RELAY, Cause.PEER_RELAY_BLOCKED},
    Cause.UDP_BLOCKED: (_RELAYED - {Cause.PEER_UDP_BLOCKED}) | {Cause.STUN_BLOCKED, Cause.TUNNEL_PORT_BLOCKED},
    Cause.PEER_OFFLINE: _RELAYED | {Cause.NO_COMMON_RELAY, Cause.PEER_RELAY_BLOCKED},
    Cause.PEER_UDP_BLOCKED: _RELAYED,
    Cause.PATH_POLICY_RELAY: _RELAYED | {Cause.TUNNEL_PORT_BLOCKED},
    Cause.HARD_NAT_BOTH: frozenset({Cause.HARD_NAT_PAIR}),
    Cause.HAIRPIN: _SILENCE,
    Cause.MTU_HOLE: _SILENCE | {Cause.WIREGUARD_FILTERED},
    Cause.WIREGUARD_FILTERED: _SILENCE,
    Cause.NO_COMMON_RELAY: frozenset({Cause.PEER_OFFLINE, Cause.PEER_RELAY_BLOCKED}),
}  # fmt: skip
"""What need not be looked into while the key's finding stands: it would look the same anyway."""

EXPLAINED = 0.25  # of its confidence is left to a cause that another one explains


@dataclass(frozen=True, slots=True)
class Fix:
    """`where`: the device, by name. `command`: to be typed there as it stands, "" where no command helps. `also`: what
    else is to be done, in words."""

    where: str
    command: str
    also: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """confidence: 0 to 1. evidence: lines for people, the strongest first. about: what the cause names (a relay's
    region and node), "" for most. harmless: here it costs nothing, whatever it may elsewhere."""

    cause: Cause
    confidence: float
    evidence: tuple[str, ...]
    fix: Fix | None = None
    about: str = ""
    harmless: bool = False

    @property
    def grade(self) -> Grade:
        return Grade.NOTE if self.harmless else grade_of(self.cause)


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Best first; notes last. What a more likely finding explains counts for less."""
    found = _merged(findings)
    weighed = [
        replace(one, confidence=one.confidence * EXPLAINED) if _is_explained(one, found) else one for one in found
    ]
    weighed = [one for one in weighed if one.confidence >= WORTH_TELLING]
    order = sorted(weighed, key=lambda one: (one.grade is Grade.NOTE, -one.confidence))
    return tuple(replace(one, confidence=round(one.confidence, 2)) for one in order)


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    """One of each cause and what it is about: the most confident, with the others' evidence behind its own."""
    held: dict[tuple[Cause, str], Finding] = {}
    for one in sorted(findings, key=lambda one: -one.confidence):
        first = held.setdefault((one.cause, one.about), one)
        lines = dict.fromkeys([*first.evidence, *one.evidence])
        held[one.cause, one.about] = replace(first, evidence=tuple(lines))
    return list(held.values())


def _is_explained(one: Finding, found: list[Finding]) -> bool:
    return any(
        one.cause in EXPLAINS.get(other.cause, ())
        and one.cause is not other.cause
        and other.confidence >= one.confidence / 2
        for other in found
    )


def verdict(findings: Iterable[Finding]) -> str:
    """`broken` or `degraded`: the worst grade among those that are likely at all. Without any: `healthy`, or `unknown`
    where something was not looked at."""
    likely = [one for one in findings if one.confidence >= LIKELY]
    grades = {one.grade for one in likely}
    if Grade.BROKEN in grades:
        return str(Grade.BROKEN)
    if Grade.DEGRADED in grades:
        return str(Grade.DEGRADED)
    return UNKNOWN if any(one.cause is Cause.NOT_LOOKED_AT for one in likely) else HEALTHY


LIKELY = 0.25
WORTH_TELLING = 0.15
