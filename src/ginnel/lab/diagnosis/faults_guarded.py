"""A machine's own firewall drops what its router lets in: of nftables, iptables, ufw.

Room: lab.
"""

from __future__ import annotations

import json
import random
import shutil
import socket
from dataclasses import replace
from pathlib import Path

from ginnel.lab import LabError
from ginnel.lab.diagnosis.fault import Fault, Proof, seen_by_both
from ginnel.lab.diagnosis.faults_pairs import OPENS, no_guessing
from ginnel.lab.diagnosis.proofs import proof, stays, stun
from ginnel.lab.diagnosis.world import ALICE, World
from ginnel.lab.kinds import NODE_PORT, network
from ginnel.lab.namespace import Inside, mount
from ginnel.lab.topology import OBSERVER, Topology

IPTABLES = (
    ("-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"),
    ("-A", "INPUT", "-i", "lo", "-j", "ACCEPT"),
    ("-A", "INPUT", "-i", "ginnel0", "-j", "ACCEPT"),
    ("-P", "INPUT", "DROP"),
)


# --- networks ---


def forwarded_but_guarded(_: random.Random) -> Topology:
    """Alice's router forwards her port, and her own firewall drops what comes by it."""
    return with_host(network(alice="hard-random+open-port", bob="hard-random"), default_deny=True)


def guarded_in_public(rng: random.Random) -> Topology:
    return network(alice="host-firewall-default-deny", bob=rng.choice(("hard-random", "hard-sequential")))


def with_host(topology: Topology, *, default_deny: bool) -> Topology:
    hosts = tuple(replace(host, default_deny=default_deny) if host.name == ALICE else host for host in topology.hosts)
    return Topology(topology.routers, hosts)


# --- steps ---


def guard_by_iptables(world: World) -> None:
    if shutil.which("iptables") is None:
        raise LabError("iptables is not installed, and a fault is made of it: apt-get install iptables")
    for words in IPTABLES:
        world.lab.spaces[ALICE].run(["iptables", *words])


MANY_RULES = 600  # listed as JSON more than a pipe holds


def guard_among_many(world: World) -> None:
    """As where a ban list or a container engine has its own."""
    others = [f"ip saddr 198.18.{n // 250}.{n % 250 + 1} tcp dport 22 drop" for n in range(MANY_RULES)]
    own = ['iifname "eth0" ct state established,related accept', f'iifname "eth0" udp dport {NODE_PORT} drop']
    chain = ["chain input {", "type filter hook input priority filter; policy accept;", *others, *own, "}"]
    world.nft(ALICE, "\n".join(["table inet banned {", *chain, "}", ""]))


UFW = tuple(Path(place) for place in ("/etc/ufw", "/etc/default", "/lib/ufw"))


def private_ufw(world: World, host: str) -> None:
    """The machine has files of its own for ufw, as they are after its installation, and ufw is switched on."""
    if shutil.which("ufw") is None:
        raise LabError("ufw is not installed, and a fault is made of it: apt-get install ufw")
    for place in UFW:
        copy = f"ufw{str(place).replace('/', '-')}"
        shutil.copytree(place, world.lab.directory / host / copy, symlinks=True)
        world.lab.spaces[host].call(mount, Path(world.lab.inside_path(copy)), place)
    world.lab.spaces[host].run(["ufw", "--force", "enable"])


def guard_by_ufw(world: World) -> None:
    private_ufw(world, ALICE)


# --- proofs ---


def guarded(world: World) -> Proof:
    """A packet that nobody asked for comes to alice's machine, and no further than its firewall."""
    space, source = world.lab.spaces[ALICE], world.lab.plan.observer[0]
    match = f"ip saddr {source} udp dport {NODE_PORT} counter"
    chains = {"came": "prerouting priority -310", "in": "input priority 300"}
    lines = [f"chain {name} {{\ntype filter hook {hook};\n{match}\n}}" for name, hook in chains.items()]
    space.run(["nft", "-f", "-"], "\n".join(["table inet proof {", *lines, "}", ""]))
    address = (world.lab.addresses[world.topology.edge(ALICE)], NODE_PORT)
    with world.lab.spaces[OBSERVER].socket(socket.SOCK_DGRAM, (source, 0)) as there:
        there.sendto(b"uninvited", address)
        came = world.sees(lambda: counted(space, "came") > 0)
    return proof(came=(came, True), got_in=(counted(space, "in") > 0, False), stun=(stun(world, ALICE), True))


def counted(space: Inside, chain: str) -> int:
    listed = json.loads(space.run(["nft", "-j", "list", "chain", "inet", "proof", chain]))["nftables"]
    parts = [part for entry in listed if "rule" in entry for part in entry["rule"]["expr"]]
    return sum(int(part["counter"]["packets"]) for part in parts if "counter" in part)


FAULTS = (
    Fault(
        "host-firewall",
        "host",
        "two hard NATs; one forwards the port, and the machine's own nftables drops what comes by it",
        seen_by_both("host-firewall", "peer-host-firewall", names=(str(NODE_PORT),), mend_at=ALICE, mend=OPENS),
        stays("relay", guarded),
        sites=forwarded_but_guarded,
        meets="relay",
    ),
    Fault(
        "host-firewall-iptables",
        "host",
        "two hard NATs; one forwards the port, and the machine's own iptables drops what comes by it",
        seen_by_both("host-firewall", "peer-host-firewall", names=(str(NODE_PORT),), mend_at=ALICE, mend=OPENS),
        stays("relay", guarded),
        sites=lambda _: network(alice="hard-random+open-port", bob="hard-random"),
        before=guard_by_iptables,
        meets="relay",
    ),
    Fault(
        "host-firewall-ufw",
        "host",
        "two hard NATs; one forwards the port, and the machine's own ufw, as installed, drops what comes by it",
        seen_by_both("host-firewall", "peer-host-firewall", mend_at=ALICE, mend=(f"sudo ufw allow {NODE_PORT}/udp",)),
        stays("relay", guarded),
        sites=lambda _: network(alice="hard-random+open-port", bob="hard-random"),
        before=guard_by_ufw,
        meets="relay",
    ),
    Fault(
        "host-firewall-many-rules",
        "host",
        "two hard NATs; one forwards the port, and one rule among hundreds on the machine drops what comes by it",
        seen_by_both("host-firewall", "peer-host-firewall", names=(str(NODE_PORT),), mend_at=ALICE, mend=OPENS),
        stays("relay", guarded),
        sites=lambda _: network(alice="hard-random+open-port", bob="hard-random"),
        before=guard_among_many,
        meets="relay",
    ),
    Fault(
        "host-firewall-public",
        "host",
        "a public address whose firewall lets nothing in, and a hard NAT; policy forbids to guess ports",
        seen_by_both("host-firewall", "peer-host-firewall", names=(str(NODE_PORT),), mend_at=ALICE, mend=OPENS),
        stays("relay", guarded),
        sites=guarded_in_public,
        setup=no_guessing,
        meets="relay",
    ),
)
