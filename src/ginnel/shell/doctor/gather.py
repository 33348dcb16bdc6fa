"""Evidence of this machine: what the daemon knows and what is tried here, all at once and within a few seconds.

Room: shell. A look that fails leaves its evidence unknown; it never fails the whole.
"""

from __future__ import annotations

import asyncio
import logging
import socket as sockets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ginnel import __version__
from ginnel.core.doctor.evidence import Clock, Daemon, Host, NameSeen, Port80, Probe
from ginnel.core.node.actions import AskPort80
from ginnel.core.node.captive import Relay80, Sign, judge, relays_to_ask
from ginnel.core.node.control_url import legs
from ginnel.core.node.routing import MARK
from ginnel.shell.doctor import machine
from ginnel.shell.doctor.names import is_address, look_up
from ginnel.shell.doctor.probe443 import Target, probe
from ginnel.shell.doctor.relays import UdpSeen, look_at_relays
from ginnel.shell.node.port80 import ask
from ginnel.wire import generate204
from ginnel.wire.doctor import FirewallTold, Testimony
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import RegionId

log = logging.getLogger(__name__)

LIMIT = 5.8
"""Seconds for all looks together."""
NAMES = 32
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known:
    """What the daemon told, or whoever stands in for it. `trust`: how the server's certificate is judged, as in
    `RelayOpen.verify`. `own`, `peers`: mesh addresses."""

    name: str
    daemon: Daemon | None = None
    why_down: str = ""
    network: Testimony | None = None
    derp_map: DERPMap = DERPMap()  # noqa: RUF009  (frozen)
    control_url: str = ""
    trust: str = "insecure"
    own: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    peers_of: tuple[tuple[int, tuple[str, ...]], ...] = ()
    tun: str = "ginnel0"
    root: bool = True


async def gather_host(known: Known, tell: Callable[[str], None] = lambda _: None) -> Host:
    """Within LIMIT. `tell` hears what is done, for people who wait."""
    tell("looking at this machine, its names and every relay ...")
    links = machine.links(known.tun)
    async with asyncio.timeout(LIMIT + 1):
        relays, control, port80, names, clocks, gateway = await asyncio.gather(
            _within(look_at_relays(known.derp_map, mark=MARK), ((), UdpSeen()), "relays"),
            _within(_control(known), None, "control"),
            _within(_port80(known.derp_map), Port80.UNASKED, "port 80"),
            _within(_names(known), (), "names"),
            _within(_clocks(known), (), "clock"),
            _within(_gateway(links), None, "gateway"),
        )
    seen, udp = relays
    daemon = known.daemon
    taken = daemon is not None and daemon.port != daemon.wanted_port
    return Host(
        name=known.name,
        program=__version__,
        why_down=known.why_down,
        daemon=daemon,
        network=known.network,
        clocks=clocks,
        names=names,
        control=control,
        relays=seen,
        port80=port80,
        udp_refused=udp.refused,
        udp_elsewhere=udp.elsewhere,
        way_out=bool(links.defaults or _is_on_link(seen)) if links is not None else None,
        gateway_answers=gateway,
        tun_device=machine.has_tun_device(),
        clashes=machine.clashes(links, known.tun, known.own, known.peers) if links is not None else (),
        holder=machine.holder_of(daemon.wanted_port) if daemon is not None and taken and daemon.wanted_port else "",
        firewall=_firewall(known),
        global_v6=links is not None and machine.has_global_v6(links),
        peers_of=known.peers_of,
        root=known.root,
    )


def _is_on_link(relays: Any) -> bool:
    """A network without a default route may hold the whole mesh."""
    return any(relay.https is not None and relay.https.works for relay in relays)


async def _within(work: Coroutine[Any, Any, T], otherwise: T, what: str) -> T:
    try:
        async with asyncio.timeout(LIMIT):
            return await work
    except (TimeoutError, OSError) as error:
        log.debug("%s: %s", what, error or "not within the time")
        return otherwise


def _firewall(known: Known) -> FirewallTold | None:
    return known.network.firewall if known.network is not None else None


async def _gateway(links: Any) -> bool | None:
    return await machine.gateway_answers(links, mark=MARK) if links is not None else None


# --- names -----------------------------------------------------------------------------------------------------------


async def _names(known: Known) -> tuple[NameSeen, ...]:
    wanted = _wanted_names(known)
    found = await asyncio.gather(*(look_up(name) for name in wanted))
    return tuple(
        NameSeen(name, tuple(up.addresses), addresses, up.problem, needed=not addresses)
        for (name, addresses), up in zip(wanted.items(), found, strict=True)
    )


def _wanted_names(known: Known) -> dict[str, tuple[str, ...]]:
    """By name, the addresses that the map has for it. The server's own name is needed whatever the map says."""
    wanted: dict[str, tuple[str, ...]] = {}
    for region in (known.derp_map.regions or {}).values():
        for node in (region.nodes or ()) if region is not None else ():
            if not is_address(node.host_name):
                addresses = tuple(text for text in (node.ipv4, node.ipv6) if is_address(text))
                wanted[node.host_name] = wanted.get(node.host_name, ()) + addresses
    server = urlsplit(known.control_url).hostname or ""
    if server and not is_address(server):
        wanted.setdefault(server, ())
    return dict(list(wanted.items())[-NAMES:])


# --- the server ------------------------------------------------------------------------------------------------------


async def _control(known: Known) -> Probe | None:
    if not known.control_url:
        return None
    parts = urlsplit(known.control_url)
    leg = next((leg for leg in legs(known.control_url) if leg.tls), None)
    if leg is None or not parts.hostname:
        return None
    found = await look_up(parts.hostname)
    if not found.addresses:
        return Probe(f"{parts.hostname}:{leg.port}", "dns-failure", found.problem)
    tried = [Target(parts.hostname, ip, leg.port, known.trust, "/health") for ip in found.addresses[:2]]
    results = await asyncio.gather(*(probe(target, mark=MARK) for target in tried))
    return next((result for result in results if result.works), results[0])


async def _clocks(known: Known) -> tuple[Clock, ...]:
    if not known.control_url:
        return ()
    seen = await machine.clock_of(f"{known.control_url.rstrip('/')}/health", mark=MARK)
    return (seen,) if seen is not None else ()


# --- port 80 ---------------------------------------------------------------------------------------------------------


async def _port80(derp_map: DERPMap) -> Port80:
    relays = relays_to_ask(derp_map, RegionId(0))
    if not relays:
        return Port80.UNASKED
    signs = await asyncio.gather(*(_sign(number, relay) for number, relay in enumerate(relays)))
    if Sign.TRUE in signs:
        return Port80.TRUE
    if Sign.FORGED in signs:
        return Port80.FORGED
    return Port80.STRIPPED if Sign.STRIPPED in signs else Port80.SILENT


async def _sign(number: int, relay: Relay80) -> Sign:
    challenge = f"ts_doctor{number}"
    answer = await ask(AskPort80(number, relay.address, challenge), mark=MARK)
    try:
        return judge(generate204.parse_answer(answer), challenge, relay)
    except WireError:
        return Sign.NOTHING


def host_name() -> str:
    return sockets.gethostname().split(".")[0]
