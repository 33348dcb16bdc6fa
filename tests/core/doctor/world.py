"""A healthy machine and a healthy pair, from which each test takes away what it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from ginnel.core.doctor.causes import Cause
from ginnel.core.doctor.diagnosis import Diagnosis, of_host, of_pair
from ginnel.core.doctor.evidence import (
    Clock,
    Daemon,
    Host,
    Pair,
    PeerFacts,
    PingSeen,
    Port80,
    Probe,
    RelaySeen,
    Source,
)
from ginnel.wire.doctor import FirewallTold, PortMapTold, RelayTold, Testimony, WayTold

SERVER, FRA, NYC = "control.example:443", "192.0.2.1:443", "192.0.2.2:443"
FRANKFURT, NEW_YORK = 1, 2
ALICE_OUTSIDE, BOB_OUTSIDE = "198.51.100.7", "203.0.113.7"

NETWORK = Testimony(
    program="0.1.0-ginnel",
    name="alice",
    udp=True,
    ipv4=True,
    varies=False,
    seen_v4=f"{ALICE_OUTSIDE}:41641",
    port=41641,
    wanted_port=41641,
    control=True,
    local=("192.168.1.2",),
    told=(f"{ALICE_OUTSIDE}:41641", "192.168.1.2:41641"),
    home=FRANKFURT,
    relays=(RelayTold(FRANKFURT, connected=True, latency=0.02), RelayTold(NEW_YORK, latency=0.09)),
    firewall=FirewallTold("nftables", closed=False, opens="sudo ginnel firewall open"),
)
HOST = Host(
    name="alice",
    program="0.1.0",
    daemon=Daemon("Running", "0.1.0", 41641, 41641, "https://control.example", control_connected=True),
    network=NETWORK,
    clocks=(Clock("https://control.example", 0.3),),
    control=Probe(SERVER),
    relays=(
        RelaySeen(FRANKFURT, "fra", "1a", Probe(FRA), stun=True),
        RelaySeen(NEW_YORK, "nyc", "2a", Probe(NYC), stun=True),
    ),
    port80=Port80.TRUE,
    way_out=True,
    gateway_answers=True,
    tun_device=True,
    firewall=NETWORK.firewall,
)
THEIRS = msgspec.structs.replace(
    NETWORK, name="bob", seen_v4=f"{BOB_OUTSIDE}:41641", told=(f"{BOB_OUTSIDE}:41641",), local=("192.168.2.2",),
    lets_in=True, ways=(WayTold(f"{ALICE_OUTSIDE}:41641", asked=9, heard=0),),
)  # fmt: skip
RELAYED = msgspec.structs.replace(
    NETWORK, active=True, searching=60.0, lets_in=True, ways=(WayTold(f"{BOB_OUTSIDE}:41641", asked=9),)
)
PAIR = Pair(
    host=HOST,
    peer=PeerFacts("bob", "100.64.0.2", online=True, ours=True, home=FRANKFURT),
    own=msgspec.structs.replace(NETWORK, direct=f"{BOB_OUTSIDE}:41641", wire_mtu=1340),
    ping=PingSeen(True, f"{BOB_OUTSIDE}:41641"),
    theirs=THEIRS,
    source=Source.TUNNEL,
)
BY_RELAY = replace(PAIR, own=RELAYED, ping=PingSeen(True, "", "fra"))
DEAD = replace(BY_RELAY, ping=PingSeen(problem="timed out"), source=Source.SERVER)
ROUTER = PortMapTold(router="192.168.1.1")


def end(known: Testimony, **members: Any) -> Testimony:
    return msgspec.structs.replace(known, **members)


def network(**members: Any) -> Host:
    return replace(HOST, network=end(NETWORK, **members))


def all_443(probe: Probe) -> Host:
    """Every try at port 443 ends so."""
    relays = tuple(
        replace(relay, https=replace(probe, place=relay.https.place)) for relay in HOST.relays if relay.https
    )
    return replace(HOST, control=replace(probe, place=SERVER), relays=relays)


def no_udp(host: Host) -> Host:
    silent = tuple(replace(relay, stun=False) for relay in host.relays)
    return replace(host, network=end(NETWORK, udp=False, seen_v4="", varies=None), relays=silent)


def one_relay(probe: Probe, *, stun: bool) -> Host:
    """New York's alone ends so."""
    return replace(HOST, relays=(HOST.relays[0], replace(HOST.relays[1], https=probe, stun=stun)))


def first(diagnosis: Diagnosis) -> Cause | None:
    return diagnosis.findings[0].cause if diagnosis.findings else None


def host_cause(host: Host) -> tuple[str, Cause | None]:
    said = of_host(host)
    return said.verdict, first(said)


def pair_cause(pair: Pair) -> tuple[str, Cause | None]:
    said = of_pair(pair)
    return said.verdict, first(said)
