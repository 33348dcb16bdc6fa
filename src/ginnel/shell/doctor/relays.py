"""Every relay of the map, tried at once: TLS on its port, and STUN from one socket of our own.

Room: shell.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from ginnel.core.doctor.evidence import RelaySeen
from ginnel.core.node.names import verify_of
from ginnel.shell.doctor.names import look_up
from ginnel.shell.doctor.probe443 import Target, marked, probe
from ginnel.wire.derpmap import DERP_PORT, STUN_PORT
from ginnel.wire.read import WireError
from ginnel.wire.stun import binding_request, parse_binding_success
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion

AT_ONCE = 64
STUN_TRIES = (0.0, 0.3, 0.8)
STUN_TIME = 1.5
ELSEWHERE = 33434  # where nothing listens (traceroute's): who gets a packet there says so
ELSEWHERE_TIME = 1.0
REFUSED = (errno.EPERM, errno.EACCES)


@dataclass(slots=True)
class UdpSeen:
    """`answered`: addresses of STUN servers. `refused`: our own kernel would not send. `elsewhere`: a relay's machine
    was seen to get a packet for another port."""

    answered: set[tuple[str, int]] = field(default_factory=set)
    refused: bool = False
    elsewhere: bool | None = None


async def look_at_relays(derp_map: DERPMap, *, mark: int) -> tuple[tuple[RelaySeen, ...], UdpSeen]:
    """All regions; at most AT_ONCE connections at a time."""
    nodes = [(region, node) for region in (derp_map.regions or {}).values() if region for node in region.nodes or ()]
    places = dict(
        zip(map(id, (n for _, n in nodes)), await asyncio.gather(*(_addresses(n) for _, n in nodes)), strict=True)
    )
    gate = asyncio.Semaphore(AT_ONCE)
    stun = [
        (ip, node.stun_port or STUN_PORT) for _, node in nodes if node.stun_port >= 0 for ip in places[id(node)][:1]
    ]
    udp = asyncio.create_task(look_at_udp(stun, mark=mark))
    seen = await asyncio.gather(*(_relay(region, node, places[id(node)], gate, mark) for region, node in nodes))
    heard = await udp
    return tuple(
        _with_stun(relay, node, places[id(node)], heard) for relay, (_, node) in zip(seen, nodes, strict=True)
    ), heard


async def _addresses(node: DERPNode) -> list[str]:
    """IPv4 first: what the map says, else DNS."""
    written = [text for text in (node.ipv4, node.ipv6) if _is_address(text)]
    return written or (await look_up(node.host_name)).addresses


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, text)
            return True
    return False


async def _relay(
    region: DERPRegion, node: DERPNode, places: list[str], gate: asyncio.Semaphore, mark: int
) -> RelaySeen:
    seen = RelaySeen(region.region_id, region.region_code, node.name)
    if node.stun_only or not places:
        return seen
    target = Target(node.host_name, places[0], node.derp_port or DERP_PORT, verify_of(node), "/derp/latency-check")
    async with gate:
        return RelaySeen(seen.region, seen.code, seen.node, https=await probe(target, mark=mark))


def _with_stun(relay: RelaySeen, node: DERPNode, places: list[str], heard: UdpSeen) -> RelaySeen:
    if node.stun_port < 0 or not places:
        return relay
    answered = (places[0], node.stun_port or STUN_PORT) in heard.answered
    return RelaySeen(relay.region, relay.code, relay.node, relay.https, stun=answered)


# --- UDP -------------------------------------------------------------------------------------------------------------


async def look_at_udp(servers: Iterable[tuple[str, int]], *, mark: int) -> UdpSeen:
    seen = UdpSeen()
    wanted = list(dict.fromkeys(servers))
    if not wanted:
        return seen
    by_family = {
        family: [s for s in wanted if (":" in s[0]) == (family == socket.AF_INET6)]
        for family in (socket.AF_INET, socket.AF_INET6)
    }
    asked = [_stun(family, places, seen, mark) for family, places in by_family.items() if places]
    found = await asyncio.gather(_elsewhere(wanted[:3], mark), *asked)
    seen.elsewhere = found[0]
    return seen


async def _stun(family: socket.AddressFamily, servers: list[tuple[str, int]], seen: UdpSeen, mark: int) -> None:
    transactions = {os.urandom(12): server for server in servers}
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asking:
        marked(asking, mark)
        with suppress(TimeoutError):
            async with asyncio.timeout(STUN_TIME), asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(_send(asking, transactions, seen))
                await _receive(asking, transactions, seen)
                sending.cancel()


async def _send(asking: socket.socket, transactions: dict[bytes, tuple[str, int]], seen: UdpSeen) -> None:
    last = 0.0
    for at in STUN_TRIES:
        await asyncio.sleep(at - last)
        last = at
        for transaction, server in transactions.items():
            if server in seen.answered:
                continue
            try:
                asking.sendto(binding_request(transaction), server)
            except OSError as error:
                seen.refused |= error.errno in REFUSED


async def _receive(asking: socket.socket, transactions: dict[bytes, tuple[str, int]], seen: UdpSeen) -> None:
    loop = asyncio.get_running_loop()
    while not seen.answered.issuperset(transactions.values()):
        packet = await loop.sock_recv(asking, 2048)
        with suppress(WireError):
            server = transactions.get(parse_binding_success(packet).transaction_id)
            if server is not None:
                seen.answered.add(server)


async def _elsewhere(servers: list[tuple[str, int]], mark: int) -> bool | None:
    """True: an ICMP `port unreachable` came back. Silence says nothing: many machines send none."""
    found = await asyncio.gather(*(_refuses(ip, mark) for ip, _ in servers))
    return True if any(found) else None


async def _refuses(ip: str, mark: int) -> bool:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asking:
        marked(asking, mark)
        try:
            asking.connect((ip, ELSEWHERE))
            asking.send(b"\0")
            async with asyncio.timeout(ELSEWHERE_TIME):
                await asyncio.get_running_loop().sock_recv(asking, 1)
        except ConnectionRefusedError:
            return True
        except (OSError, TimeoutError):
            return False
    return False
