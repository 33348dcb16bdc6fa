"""Plans as tests render them: a mesh of three regions, one with two relays; addresses of documentation."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from ginnel.core.firewall.needs import Host, Level, Need, Plan, Role, Service, Stability

HTTPS, STUN, PORTAL = Service("tcp", 443), Service("udp", 3478), Service("tcp", 80)
WHY = {
    "https": "The coordination server, sign-in, logs and every relay are reached by HTTPS.",
    "tunnel": "Direct tunnels: WireGuard leaves from this port for whatever port a peer's router gave it.",
    "stun": "Relays tell a machine its public address.",
    "portal": "Captive portals are noticed by asking a relay for http://.../generate_204.",
    "tunnel-in": "Peers behind hard NATs can reach this machine directly.",
}
WARNING = "Pinned destinations break the mesh some day: keep the list in sync by a program."


def relay(region: int, node: str, *addresses: str) -> Host:
    return Host(
        name=f"derp{region}{node}.example.com",
        level=Level.SNI,
        role=Role.RELAY,
        services=(HTTPS, STUN, PORTAL),
        addresses=tuple(map(ip_address, addresses)),
        stability=Stability.FAST,
        region=region,
        region_code={1: "nyc", 2: "fra", 3: "lab"}[region],
        node=f"{region}{node}",
        needed_for="relayed traffic",
        breaks="apparently random pairs lose contact",
    )


def whole(region: int, *nodes: Host) -> Host:
    every = sorted({a for node in nodes for a in node.addresses}, key=lambda a: (a.version, int(a)))
    return replace(nodes[0], name=f"derp{region}-all.example.com", level=Level.L3, node="", addresses=tuple(every))


NYC = (relay(1, "a", "203.0.113.1", "2001:db8:1::1"), relay(1, "b", "203.0.113.2"))
FRA = relay(2, "a", "198.51.100.7", "2001:db8:2::7")
BARE = replace(relay(3, "a", "203.0.113.99", "2001:db8:3::99"), name="")
CONTROL = Host(
    "mesh.example.com", Level.SNI, Role.CONTROL, (HTTPS,), (ip_address("192.0.2.10"), ip_address("2001:db8::10"))
)
RELAYS = (whole(1, *NYC), *NYC, whole(2, FRA), FRA, BARE)


def needs(*, pinned: bool = False, port: int | None = 41641) -> tuple[Need, ...]:
    def to(*hosts: Host) -> tuple[Host, ...]:
        return hosts if pinned else ()

    return tuple(
        replace(need, why=WHY[need.id], breaks=f"what {need.id} is for does not work", looks_like="odd")
        for need in (
            Need("https", "out", "tcp", None, 443, to(CONTROL, *RELAYS)),
            Need("tunnel", "out", "udp", port, None),
            Need("stun", "out", "udp", None, 3478, to(*RELAYS)),
            Need("portal", "out", "tcp", None, 80, to(*RELAYS), optional=True),
            *([Need("tunnel-in", "in", "udp", None, port, optional=True)] if port else []),
        )
    )


RECOMMENDED = Plan("recommended", needs(), "https://mesh.example.com")
PINNED = Plan("pinned", needs(pinned=True), "https://mesh.example.com", (WARNING,), "2026-12-23")
ANY_PORT = Plan("recommended", needs(port=None), "https://mesh.example.com", ("no fixed port",))
ONLY_IPV4 = replace(RECOMMENDED, needs=tuple(replace(need, families=(4,)) for need in RECOMMENDED.needs))
PLANS = {"recommended": RECOMMENDED, "pinned": PINNED}


def many_regions(count: int) -> Plan:
    """A pinned plan of so many regions, each with one relay."""
    hosts = []
    for number in range(1, count + 1):
        v4, v6 = f"8.{number >> 16}.{number >> 8 & 255}.{number & 255}", f"2001:db8::{number:x}"
        one = replace(relay(1, "a", v4, v6), name=f"derp{number}a.example.com", region=number)
        hosts += [replace(one, name=f"derp{number}-all.example.com", level=Level.L3, node=""), one]
    return replace(PINNED, needs=tuple(replace(n, hosts=tuple(hosts)) if n.hosts else n for n in PINNED.needs))
