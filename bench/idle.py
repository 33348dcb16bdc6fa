"""Packets that an idle node sends: three minutes on its host's interface, both sides in the same minutes.

Nodes behind home routers. Some have never spoken to a peer; the others have, directly, and are silent for more than two
minutes when the count begins. The row is about the latter: what a whole idle node sends a minute to the server, the
relay and STUN together. The notes have how many went to peers, which should be none, the nodes that never spoke, and
what the packets were. ARP and IPv6's own chatter of an interface are left out.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from bench import _lab as lab
from bench._rows import Row, burden, not_measured, row, spread
from ginnel.lab.kinds import SERVER
from ginnel.lab.tally import Packet, Tally

KIND = "easy"
PAIRS = 4  # of which half speak
WINDOW = 180.0
QUIET = 130.0
TOGETHER = 15.0
LIMIT = 8.0
PEER = "tailscaled"
NOT_OURS = ("arp", "icmp", "other")
PEERS = ("disco", "initiation", "response", "cookie", "data")


def rows(n: int) -> Iterator[Row]:
    if refused := lab.why_not():
        yield not_measured("idle/packets", "packets/minute", refused, PEER)
        return
    pairs = max(PAIRS, n)
    with lab.members(KIND, pairs) as found, ExitStack() as stack:
        for pair in zip(*found.values(), strict=True):
            for member in pair:
                member.start()
        speaking = {side: members[: pairs // 2 * 2] for side, members in found.items()}
        for members in speaking.values():
            for a, b in zip(members[::2], members[1::2], strict=True):
                _speak(a, b)
        time.sleep(QUIET)
        sent = _count(stack, found)
        server = next(iter(found.values()))[0].lab.addresses[SERVER]
    yield _row(sent, {side: [member.host for member in members] for side, members in speaking.items()}, server)


def _speak(a: lab.Member, b: lab.Member) -> None:
    """Until both ends are direct, then silence."""
    with lab.talking(a, b):
        deadline = time.monotonic() + TOGETHER
        while not (a.direct_to(b.address) and b.direct_to(a.address)) and time.monotonic() < deadline:
            time.sleep(0.1)


def _count(stack: ExitStack, found: dict[str, list[lab.Member]]) -> dict[str, dict[str, list[Packet]]]:
    """By side and host, what was sent in the window."""
    tallies = {
        side: {member.host: stack.enter_context(Tally(member.lab.spaces[member.host])) for member in members}
        for side, members in found.items()
    }
    began = time.monotonic()
    time.sleep(WINDOW)
    return {
        side: {host: [p for p in tally.between(began, began + WINDOW) if _counts(p)] for host, tally in those.items()}
        for side, those in tallies.items()
    }


def _counts(packet: Packet) -> bool:
    return packet.out and packet.kind not in NOT_OURS


def _row(sent: dict[str, dict[str, list[Packet]]], spoke: dict[str, list[str]], server: str) -> Row:
    """Per minute, each node a measurement."""
    rates: dict[str, list[float]] = {}
    peers = sum(map(len, sent.values())) - 1
    told = [f"sent in {WINDOW:g} s, {QUIET:g} s after the last word to a peer, {peers} peers in the map"]
    for side, hosts in sent.items():
        to_server = {host: _per_minute(p for p in packets if p.remote == server) for host, packets in hosts.items()}
        rates[side] = [rate for host, rate in to_server.items() if host in spoke[side]]
        silent = [rate for host, rate in to_server.items() if host not in spoke[side]]
        to_peers = sum(p.kind in PEERS for packets in hosts.values() for p in packets)
        never = f"never spoke {median(silent):.3g} ({spread(silent)})" if silent else "all spoke"
        told.append(f"{side}: {never}; packets to peers {to_peers}; {_kinds(hosts)}")
    notes = "; ".join([*told, burden()])
    absent = lab.official_absent()
    ours, theirs = rates["ginnel"], rates.get(PEER, [])
    return row("idle/packets", "packets/minute", ours, theirs, peer=PEER, limit=LIMIT, notes=notes, absent=absent)


def _per_minute(packets: Iterator[Packet]) -> float:
    return sum(1 for _ in packets) * 60 / WINDOW


def _kinds(hosts: dict[str, list[Packet]]) -> str:
    """How many of which kind each node sent a minute, on average; a TCP packet with bytes in it, or a bare one."""
    counted = Counter(_kind(packet) for packets in hosts.values() for packet in packets)
    return ", ".join(f"{kind} {count * 60 / WINDOW / len(hosts):.2g}" for kind, count in sorted(counted.items()))


def _kind(packet: Packet) -> str:
    if packet.kind != "tcp":
        return packet.kind
    flags, size = packet.detail.split()
    return "tcp data" if int(size) else f"tcp {flags}"
