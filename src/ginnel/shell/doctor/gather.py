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
from ginnel.core.doctor.evidence import Clash, Clock, Daemon, Host, NameSeen, Port80
from ginnel.core.firewall.tried import Asked
from ginnel.core.node.addresses import is_private
from ginnel.core.node.routing import MARK
from ginnel.shell.doctor import machine
from ginnel.shell.doctor.clocks import server_clocks
from ginnel.shell.doctor.port80 import look_at_port80
from ginnel.shell.doctor.relays import NetworkSeen, look_at_network, udp_elsewhere
from ginnel.shell.node.links import Links
from ginnel.wire.doctor import FirewallTold, Testimony
from ginnel.wire.tailcfg import DERPMap

log = logging.getLogger(__name__)

LIMIT = 6.5
"""Seconds for all looks together."""
GRACE = 0.3
"""For a look that ends itself at the limit."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known:
    """What the daemon told, or whoever stands in for it. `asked`: what is to be tried. `own`, `peers`: mesh
    addresses, `names`: of the peers; `online`: of those that may answer. `clock`: by the daemon's map."""

    name: str
    daemon: Daemon | None = None
    why_down: str = ""
    network: Testimony | None = None
    asked: Asked = Asked(DERPMap())  # noqa: RUF009  (frozen)
    control_url: str = ""
    own: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    online: tuple[str, ...] = ()
    peers_of: tuple[tuple[int, tuple[str, ...]], ...] = ()
    tun: str = "ginnel0"
    root: bool = True
    clock: Clock | None = None


async def gather_host(known: Known, tell: Callable[[str], None] = lambda _: None, *, within: float = LIMIT) -> Host:
    """In `within` seconds. `tell` hears what is done, for people who wait."""
    tell("looking at this machine, its names and every relay ...")
    looks = Looks(min(within, LIMIT))
    here = asyncio.ensure_future(looks.at("this machine's routes", _here(known), Here()))
    network, elsewhere, (port80, dates), told, gateway, _ = await asyncio.gather(
        looks.at("servers and relays", look_at_network(known.asked, mark=MARK, within=looks.within), NetworkSeen()),
        looks.at("", udp_elsewhere(known.asked, mark=MARK), None),
        looks.at("TCP port 80", look_at_port80(known.asked.derp_map), (Port80.UNASKED, ())),
        looks.at("", server_clocks(known.control_url), ()),
        looks.at("", _gateway(here), None),
        here,
    )
    seen, clocks = here.result(), (*([known.clock] if known.clock is not None else []), *told, *dates)
    links = seen.links
    return Host(
        name=known.name,
        program=__version__,
        why_down=known.why_down,
        daemon=known.daemon,
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
        clashes=seen.clashes,
        holder=seen.holder,
        firewall=_firewall(known),
        global_v6=links is not None and machine.has_global_v6(links),
        peers_of=known.peers_of,
        alone=known.daemon is not None and known.daemon.state == "Running" and not known.peers,
        root=known.root,
        gateways=tuple(gateway for _, gateway in links.defaults if gateway) if links is not None else (),
        resolvers=machine.resolvers(),
        resolved=machine.has_resolved(),
        unit=machine.has_unit(),
        proxy=machine.proxy(),
        unlooked=(*looks.missed, *network.unlooked),
    )


@dataclass(frozen=True, slots=True)
class Here:
    """What this machine's kernel tells."""

    links: Links | None = None
    clashes: tuple[Clash, ...] = ()
    holder: str = ""


async def _here(known: Known) -> Here:
    links, daemon = machine.links(known.tun), known.daemon
    taken = daemon is not None and daemon.port != daemon.wanted_port
    return Here(
        links,
        machine.clashes(links, known.tun, known.own, known.peers) if links is not None else (),
        machine.holder_of(daemon.wanted_port) if daemon is not None and taken and daemon.wanted_port else "",
    )


class Looks:
    """Each has `within` seconds. missed: what should have been seen and was not."""

    def __init__(self, within: float) -> None:
        self.within = within
        self.missed: list[str] = []

    async def at(self, what: str, work: Coroutine[Any, Any, T], otherwise: T) -> T:
        """`what`: "" for something that only helps to judge the rest."""
        try:
            async with asyncio.timeout(self.within + GRACE):
                return await work
        except (TimeoutError, OSError) as error:
            log.debug("%s: %s", what, error or "not within the time")
            why = "not within the time"
        except Exception:
            log.exception("a fault of ginnel's own, while it looked at: %s", what)
            why = "by a fault of ginnel's own"
        if what:
            self.missed.append(f"{what}: {why}")
        return otherwise


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


def _firewall(known: Known) -> FirewallTold | None:
    return known.network.firewall if known.network is not None else None


async def _gateway(here: asyncio.Future[Here]) -> bool | None:
    links = (await asyncio.shield(here)).links
    return await machine.gateway_answers(links, mark=MARK) if links is not None else None


def host_name() -> str:
    return sockets.gethostname().split(".")[0]
