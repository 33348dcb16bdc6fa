"""The local API's answers as evidence; and what can be known where no daemon answers.

Room: shell.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from ginnel.core.doctor.evidence import Clock, Daemon, Host, Pair, PeerFacts, PingSeen, Source
from ginnel.core.doctor.from_map import of_map
from ginnel.core.firewall.needs import Role
from ginnel.core.firewall.tried import Asked, Server
from ginnel.core.node.peer_views import OURS, home_region
from ginnel.core.node.routing import MARK
from ginnel.shell.doctor.asking import Refused
from ginnel.shell.doctor.clocks import addresses_of
from ginnel.shell.doctor.gather import Known, host_name
from ginnel.shell.firewall.asked import by_daemon
from ginnel.shell.firewall.facts import FactsError
from ginnel.shell.node.dial import unverified
from ginnel.shell.node.state import Prefs, StateError, StateFile
from ginnel.shell.node.web import WebError, fetch
from ginnel.wire.doctor import Testimony, parse_testimony
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPMap, Node, decode, read_hostinfo

log = logging.getLogger(__name__)

MAP_TIME = 2.0
MAP_LIMIT = 1 << 20
AskDaemon = Callable[[str], Any]
"""GET of the local API by name: the answer's JSON."""


def testimony_in(members: object) -> Testimony | None:
    """A member of the daemon's answer. Raises WireError."""
    return parse_testimony(msgspec.json.encode(members)) if members else None


def known_by_daemon(daemon: AskDaemon) -> Known:
    """Raises WireError, and whatever asking the daemon raises."""
    status = daemon("status")
    told = _said(daemon, status)
    said = told["Daemon"]
    url = str(said.get("ControlURL", ""))
    asked = _asked(daemon, url)
    peers = list((status.get("Peer") or {}).values())
    return Known(
        name=_short(status["Self"]) or host_name(),
        daemon=_daemon(said),
        network=testimony_in(told.get("Own")),
        asked=asked,
        control_url=url,
        own=tuple(status.get("TailscaleIPs") or ()),
        peers=tuple(peer["TailscaleIPs"][0] for peer in peers if peer.get("TailscaleIPs")),
        names=tuple(filter(None, map(_short, peers))),
        online=tuple(peer["TailscaleIPs"][0] for peer in peers if peer.get("TailscaleIPs") and peer.get("Online")),
        peers_of=_homes(peers, asked.derp_map),
        tun=said.get("Tun") or "ginnel0",
        root=os.geteuid() == 0,
        clock=Clock(url, said["ClockAhead"]) if said.get("ClockAhead") is not None else None,
    )


def _said(daemon: AskDaemon, status: dict[str, Any]) -> dict[str, Any]:
    """Its answer to `doctor`. A daemon that was not restarted after an upgrade may not know that yet."""
    try:
        said: dict[str, Any] = daemon("doctor?brief=true")
    except Refused as error:
        log.debug("ginneld: %s", error)
        return {"Daemon": {"State": status.get("BackendState", ""), "Version": status.get("Version", "")}}
    return said


def _daemon(said: dict[str, Any]) -> Daemon:
    """One of another version may not say all of it."""
    return Daemon(
        state=said.get("State", ""),
        version=said.get("Version", ""),
        port=said.get("Port", 0),
        wanted_port=said.get("WantedPort", 0),
        control_url=said.get("ControlURL", ""),
        control_connected=said.get("ControlConnected", False),
        control_address=said.get("ControlAddress", ""),
        control_problem=said.get("ControlProblem", ""),
        key_expired=said.get("KeyExpired", False),
        tunnel_problem=said.get("TunnelProblem", ""),
        health=tuple(said.get("Health") or ()),
    )


def _asked(daemon: AskDaemon, url: str) -> Asked:
    """Without a map there is the server alone."""
    try:
        return by_daemon(daemon)
    except FactsError:
        prefs = msgspec.convert(daemon("prefs"), Prefs)
        return Asked(DERPMap(), (_server(prefs),) if url else ())


def _server(prefs: Prefs) -> Server:
    pins = frozenset({prefs.server_pin} if prefs.server_pin else ())
    return Server(Role.CONTROL, prefs.control_url, prefs.pinned_key(), pins)


def _homes(peers: list[dict[str, Any]], derp_map: DERPMap) -> tuple[tuple[int, tuple[str, ...]], ...]:
    numbers = {region.region_code: number for number, region in (derp_map.regions or {}).items() if region}
    found: dict[int, list[str]] = defaultdict(list)
    for peer in peers:
        if peer.get("Relay") in numbers and peer.get("Online"):
            found[numbers[peer["Relay"]]].append(_short(peer))
    return tuple((number, tuple(names)) for number, names in sorted(found.items()))


def _short(machine: dict[str, Any]) -> str:
    return str(machine.get("DNSName") or machine.get("HostName") or "").partition(".")[0]


async def known_without_daemon(why: str, state: Path) -> Known:
    """The state directory, where it may be read, says which server it was; that has the relays' map."""
    try:
        prefs = StateFile(state).read().prefs
    except StateError as error:
        log.debug("%s", error)
        return Known(host_name(), why_down=why, root=os.geteuid() == 0)
    derp_map = await _map_of(prefs.control_url) if prefs.control_url else DERPMap()
    return Known(
        host_name(),
        why_down=why,
        asked=Asked(derp_map, (_server(prefs),) if prefs.control_url else ()),
        control_url=prefs.control_url,
        root=os.geteuid() == 0,
    )


async def _map_of(url: str) -> DERPMap:
    """Untrusted, as it serves to look at relays alone; an empty one where there is none."""
    try:
        async with asyncio.timeout(MAP_TIME):
            tls = unverified() if url.startswith("https") else None
            place = f"{url}/derpmap/default"
            found = await addresses_of(place)
            if not found:
                return DERPMap()
            page = await fetch("GET", place, mark=MARK, tls=tls, limit=MAP_LIMIT, addresses=found)
        return decode(DERPMap, page.body) if page.status == 200 else DERPMap()
    except (WebError, WireError, TimeoutError) as error:
        log.debug("no DERP map of %s: %s", url, error)
        return DERPMap()


# --- the pair --------------------------------------------------------------------------------------------------------


def pair_of(host: Host, node: Node, told: dict[str, Any] | None, ping: PingSeen) -> Pair:
    """told: the answer of `doctor?peer=`, None without one. Raises WireError."""
    if told is None:
        told = {"Theirs": None, "By": "", "Own": host.network, "Silence": "the daemon did not say in time"}
    theirs = testimony_in(told["Theirs"])
    source = Source.TUNNEL if told["By"] == "tunnel" else Source.SERVER if theirs is not None else Source.MAP
    return Pair(
        host=host if theirs is None else replace(host, witnesses=(*host.witnesses, theirs)),
        peer=_facts(node),
        own=testimony_in(told["Own"]) or Testimony(),
        ping=ping,
        theirs=theirs if theirs is not None else of_map(node),
        source=source,
        silence=told["Silence"],
    )


def _facts(node: Node) -> PeerFacts:
    info = read_hostinfo(node.hostinfo)
    return PeerFacts(
        name=node.name.partition(".")[0],
        address=node.addresses[0].partition("/")[0] if node.addresses else "",
        online=node.online,
        expired=node.expired,
        ours=info.ipn_version.endswith(OURS),
        version=info.ipn_version,
        home=home_region(node),
        endpoints=tuple(node.endpoints or ()),
        system=info.os[:40],
    )
