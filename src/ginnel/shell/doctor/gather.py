"""Evidence of this machine: what the daemon knows and what is tried here, all at once and within a few seconds.

Room: shell. A look that fails leaves its evidence unknown; it never fails the whole.
"""

from __future__ import annotations

import asyncio
import logging
import socket as sockets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ginnel import __version__
from ginnel.core.doctor.evidence import Clock, Daemon, Host, NameSeen, Port80
from ginnel.core.firewall.tried import Asked
from ginnel.core.node.actions import AskPort80
from ginnel.core.node.addresses import is_private
from ginnel.core.node.captive import Relay80, Sign, judge, relays_to_ask
from ginnel.core.node.routing import MARK
from ginnel.shell.doctor import machine
from ginnel.shell.doctor.relays import NetworkSeen, look_at_network, udp_elsewhere
from ginnel.shell.node.links import Links
from ginnel.shell.node.port80 import ask
from ginnel.wire import generate204
from ginnel.wire.doctor import FirewallTold, Testimony
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import RegionId

log = logging.getLogger(__name__)

LIMIT = 7.0
"""Seconds for all looks together."""
CLOCK_TRIES = 2
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known:
    """What the daemon told, or whoever stands in for it. `asked`: what is to be tried. `own`, `peers`: mesh
    addresses; `online`: of those that may answer."""

    name: str
    daemon: Daemon | None = None
    why_down: str = ""
    network: Testimony | None = None
    asked: Asked = Asked(DERPMap())  # noqa: RUF009  (frozen)
    control_url: str = ""
    own: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    online: tuple[str, ...] = ()
    peers_of: tuple[tuple[int, tuple[str, ...]], ...] = ()
    tun: str = "ginnel0"
    root: bool = True


async def gather_host(known: Known, tell: Callable[[str], None] = lambda _: None) -> Host:
    """Within LIMIT. `tell` hears what is done, for people who wait."""
    tell("looking at this machine, its names and every relay ...")
    links = machine.links(known.tun)
    async with asyncio.timeout(LIMIT + 1):
        network, elsewhere, port80, clocks, gateway = await asyncio.gather(
            look_at_network(known.asked, mark=MARK, within=LIMIT),
            _within(udp_elsewhere(known.asked, mark=MARK), None, "UDP"),
            _within(_port80(known.asked.derp_map), Port80.UNASKED, "port 80"),
            _within(_clocks(known), (), "clock"),
            _within(_gateway(links), None, "gateway"),
        )
    daemon = known.daemon
    taken = daemon is not None and daemon.port != daemon.wanted_port
    return Host(
        name=known.name,
        program=__version__,
        why_down=known.why_down,
        daemon=daemon,
        network=known.network,
        clocks=clocks,
        names=tuple(_judged(name, known, links) for name in network.names),
        control=network.control,
        control_trusted=any(server.key or server.pins for server in known.asked.servers),
        relays=network.relays,
        port80=port80,
        udp_refused=network.refused,
        udp_elsewhere=elsewhere,
        way_out=bool(links.defaults or _is_on_link(network)) if links is not None else None,
        gateway_answers=gateway,
        tun_device=machine.has_tun_device(),
        clashes=machine.clashes(links, known.tun, known.own, known.peers) if links is not None else (),
        holder=machine.holder_of(daemon.wanted_port) if daemon is not None and taken and daemon.wanted_port else "",
        firewall=_firewall(known),
        global_v6=links is not None and machine.has_global_v6(links),
        peers_of=known.peers_of,
        root=known.root,
    )


def misses_somebody(host: Host) -> bool:
    """The server or a relay is out of reach: others may know whether that is its own fault."""
    probes = [host.control, *(relay.https for relay in host.relays)]
    return any(probe is not None and not probe.works for probe in probes)


def _judged(name: NameSeen, known: Known, links: Links | None) -> NameSeen:
    """The server's name, of which the DERP map need not know the addresses: it leads to our own router, or to somebody
    inside where the daemon knows it outside."""
    if name.lied or not name.found or name.name != urlsplit(known.control_url).hostname:
        return name
    gateways = {gateway for _, gateway in links.defaults} if links is not None else set()
    last = known.daemon.control_address if known.daemon is not None else ""
    moved = bool(last) and last not in name.found and not _is_inside(last) and all(map(_is_inside, name.found))
    if moved or gateways & set(name.found):
        return replace(name, lied=True, known=(last,) if last else ())
    return name


def _is_inside(address: str) -> bool:
    ip = ip_address(address)
    return is_private(ip) or ip.is_loopback or ip.is_unspecified


def _is_on_link(network: NetworkSeen) -> bool:
    """A network without a default route may hold the whole mesh."""
    return any(relay.https is not None and relay.https.works for relay in network.relays)


async def _within(work: Coroutine[Any, Any, T], otherwise: T, what: str) -> T:
    try:
        async with asyncio.timeout(LIMIT):
            return await work
    except (TimeoutError, OSError) as error:
        log.debug("%s: %s", what, error or "not within the time")
    except Exception:
        log.exception("a fault of ginnel's own, while it looked at: %s", what)
    return otherwise


def _firewall(known: Known) -> FirewallTold | None:
    return known.network.firewall if known.network is not None else None


async def _gateway(links: Any) -> bool | None:
    return await machine.gateway_answers(links, mark=MARK) if links is not None else None


async def _clocks(known: Known) -> tuple[Clock, ...]:
    if not known.control_url:
        return ()
    for _ in range(CLOCK_TRIES):  # the one source that there is: a packet may get lost, a machine be slow
        seen = await machine.clock_of(f"{known.control_url.rstrip('/')}/health", mark=MARK)
        if seen is not None:
            return (seen,)
    return ()


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
