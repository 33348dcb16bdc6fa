"""Routers' and hosts' nftables rules, one table for each behaviour that is met in the wild.

Room: lab. Terms of RFC 4787: mapping says whether all destinations see the same outside port, filtering says from
whom an answer may come. Linux' masquerade keeps the source port while that is free, so it maps endpoint-independently
for one host behind it, and it filters by address and port because only conntrack's entries come in.

Two things are easy to get wrong. A router without an input rule answers an unsolicited packet itself, and the
conntrack entry of that answer takes the port that the mapping would have kept: the kernel picks another and the NAT
looks hard (`easy-bare`). And nft wants one statement a line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ginnel.lab.topology import Opened, Router

MASQUERADE = 'oifname "wan0" masquerade'
LEARN_CONE = 'oifname "wan0" meta l4proto udp update @cone { udp sport : ip saddr . udp sport }'
LEARN_RESTRICTED = 'oifname "wan0" meta l4proto udp update @restricted { ip daddr . udp sport : ip saddr . udp sport }'
SEQUENCE = (32768, 1024)  # first port, ports; a real box walks on, the probe and a mesh need a few hundred
MAPPER_TABLE = "miniupnpd"
MAPPER_CHAINS = {"upnp_forward_chain": "forwarded", "upnp_nat_chain": "mapped", "upnp_nat_postrouting_chain": "left"}
MAPPING_PORT, NAT_PMP_VERSION, PCP_VERSION = 5351, 0, 2


@dataclass(frozen=True, slots=True)
class Rules:
    """The statements in which NATs differ, by chain; `input_drop` guards the router itself."""

    learn: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    prerouting: tuple[str, ...] = ()
    postrouting: tuple[str, ...] = (MASQUERADE,)
    input_drop: bool = True


def sequential() -> tuple[str, ...]:
    """A new outside port for each destination, each one above the last."""
    first, count = SEQUENCE
    ports = ", ".join(f"{n} : {first + n}" for n in range(count))
    return (f'oifname "wan0" meta l4proto udp masquerade to :numgen inc mod {count} map {{ {ports} }}', MASQUERADE)


NATS: dict[str, Callable[[], Rules]] = {
    "easy": Rules,
    "easy-bare": lambda: Rules(input_drop=False),
    "easy-address-dependent": lambda: Rules(
        learn=(LEARN_RESTRICTED,),
        prerouting=('iifname "wan0" meta l4proto udp dnat ip to ip saddr . udp dport map @restricted',),
    ),
    "full-cone": lambda: Rules(
        learn=(LEARN_CONE,), prerouting=('iifname "wan0" meta l4proto udp dnat ip to udp dport map @cone',)
    ),
    "hard-random": lambda: Rules(postrouting=('oifname "wan0" masquerade fully-random',)),
    "hard-sequential": lambda: Rules(postrouting=sequential()),
    "udp-blocked": lambda: Rules(block=("meta l4proto udp drop",)),
    "443-only": lambda: Rules(
        block=(
            'iifname "lan0" meta l4proto tcp tcp dport { 80, 443 } accept',
            'iifname "lan0" drop',
        )
    ),
}


def router_rules(router: Router, wan: str, inside: Callable[[str], str]) -> str:
    """The whole ruleset of a router. wan: its outside IPv4 address. inside: a host's name to its address."""
    rules = NATS[router.nat]()
    forwards = tuple(forward(opened, inside) for opened in router.opened)
    learn, pre, post = rules.learn, (*forwards, *rules.prerouting), rules.postrouting
    if router.hairpin:
        learn += (LEARN_CONE,) if LEARN_CONE not in learn else ()
        pre += (f'iifname "lan0" ip daddr {wan} meta l4proto udp dnat ip to udp dport map @cone',)
        post = (f'iifname "lan0" oifname "lan0" ct status dnat snat to {wan}', *post)
    guard: tuple[str, ...] = ()
    if rules.input_drop:
        guard = ('iifname "wan0" ct state established,related accept', 'iifname "wan0" drop')
    guard += one_protocol(router)
    admit = (
        'iifname "wan0" ct state established,related accept',
        'iifname "wan0" ct status dnat accept',
        'iifname "wan0" drop',
    )
    lab = table(
        "ip lab",
        [
            "map cone { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 5m; size 65535; }",
            "map restricted { type ipv4_addr . inet_service : ipv4_addr . inet_service;"
            " flags dynamic,timeout; timeout 5m; size 65535; }",
            *chain("faults", "filter hook forward priority -20", ()),
            *chain("input", "filter hook input priority filter", guard),
            *chain("learn", "filter hook forward priority -10", learn),
            *chain("forward", "filter hook forward priority filter", (*rules.block, *admit)),
            *chain("pre", "nat hook prerouting priority dstnat", pre),
            *chain("post", "nat hook postrouting priority srcnat", post),
        ],
    )
    six = firewall_v6() if 6 in router.families else ""
    return lab + six + (mapper_table() if router.maps_by is not None else "")


def firewall_v6() -> str:
    """What homes have before their IPv6: everything gets out, only answers come in; and the router's neighbours."""
    answers = ('iifname "wan0" ct state established,related accept',)
    neighbours = ('iifname "wan0" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept',)
    drop = ('iifname "wan0" drop',)
    lines = [
        *chain("faults", "filter hook forward priority -20", ()),
        *chain("input", "filter hook input priority filter", answers + neighbours + drop),
        *chain("forward", "filter hook forward priority filter", answers + drop),
    ]
    return table("ip6 lab", lines, flush=False)


def one_protocol(router: Router) -> tuple[str, ...]:
    """miniupnpd answers NAT-PMP and PCP on one port, or neither; the version byte tells them apart (RFC 6887 §9)."""
    other = {"nat-pmp": PCP_VERSION, "pcp": NAT_PMP_VERSION}.get(router.maps_by or "")
    return () if other is None else (f'iifname "lan0" udp dport {MAPPING_PORT} @th,64,8 {other} drop',)


def mapper_table() -> str:
    """Where miniupnpd writes its rules: it finds chains by name and makes none. What it forwards needs no rule of its
    own to pass, and what a host sends by itself shall stay as hard as it was, so only one of the three is reached."""
    lines = [
        *(line for name in MAPPER_CHAINS.values() for line in chain(name, "", ())),
        *chain("pre", "nat hook prerouting priority dstnat - 5", (f"jump {MAPPER_CHAINS['upnp_nat_chain']}",)),
    ]
    return table(f"inet {MAPPER_TABLE}", lines, flush=False)


def forward(opened: Opened, inside: Callable[[str], str]) -> str:
    return f'iifname "wan0" meta l4proto udp udp dport {opened.port} dnat to {inside(opened.host)}:{opened.port}'


def host_rules(default_deny: bool) -> str:
    """A host's own firewall: it looks at `eth0` alone, so what comes out of the mesh's tunnel is not its business."""
    deny: tuple[str, ...] = ()
    if default_deny:
        neighbours = 'iifname "eth0" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept'
        deny = ('iifname "eth0" ct state established,related accept', neighbours, 'iifname "eth0" drop')
    faults = chain("faults", "filter hook input priority -20", ())
    return table("inet lab", [*faults, *chain("input", "filter hook input priority filter", deny)])


def internet_rules() -> str:
    """The hop in the middle filters nothing until a fault says so."""
    return table("ip lab", chain("faults", "filter hook forward priority -20", ()))


def table(name: str, lines: list[str], *, flush: bool = True) -> str:
    return "\n".join([*(["flush ruleset"] if flush else []), f"table {name} {{", *lines, "}", ""])


def chain(name: str, hook: str, statements: tuple[str, ...]) -> list[str]:
    """hook: empty for a chain that only others jump to."""
    return [f"chain {name} {{", *([f"type {hook}; policy accept;"] if hook else []), *statements, "}"]
