"""The daemon's part of `ginnel doctor`: its own testimony, and the other end's.

Room: shell.
"""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_address
from typing import Any

import msgspec

from ginnel import __version__
from ginnel.core.node import peer_views
from ginnel.core.node.portmap.text import view
from ginnel.core.node.routing import MARK
from ginnel.shell.doctor.hops import first_hops
from ginnel.shell.doctor.host_firewall import HostFirewall
from ginnel.shell.doctor.regions import look_at_regions, with_regions
from ginnel.shell.node.control_client import WrongServer
from ginnel.shell.node.control_connection import ControlError
from ginnel.shell.node.hostinfo import host_name
from ginnel.shell.node.node import MeshNode
from ginnel.shell.node.web import WebError, fetch
from ginnel.wire.doctor import ANSWER_LIMIT, FirewallTold, PairQuestion, PortMapTold, Testimony, parse_testimony
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import Hostinfo, Node, encode, read_hostinfo, wall_time
from ginnel.words import Instant, NodeKey

ASK_TIME = 1.5
SERVER_TIME = 1.5
HEAD_START = 0.5  # of the tunnel before the server


Looked = tuple[FirewallTold | None, tuple[str, ...]]
"""The machine's own firewall, and the first hops of the way out."""


class DoctorDesk:
    """What one node can say to its own user, and to a peer that asks about the way between them."""

    def __init__(self, node: MeshNode) -> None:
        self._node = node
        self._firewall = HostFirewall(node.tun)
        self._hops: tuple[object, tuple[str, ...]] = (None, ())

    # --- this end ----------------------------------------------------------------------------------------------

    def testimony(self, peer: Node | None) -> Testimony | None:
        """Of the network alone, or with the way to a peer; None: there is no engine, or no such peer in it."""
        engine = self._node.engine
        if engine is None:
            return None
        known = engine.mesh.testimony(peer.key if peer is not None else None, engine.now())
        if known is None:
            return None
        own = self._node.netmap.self_node
        name = own.name.partition(".")[0] if own is not None else host_name(self._node.state.prefs)
        return msgspec.structs.replace(
            known,
            program=f"{__version__}-ginnel",
            name=name,
            port_map=self._port_map(engine.now()),
            control=self._node.client is not None and self._node.client.session.in_map_poll,
        )

    async def _look(self, peer: Node | None) -> Looked:
        engine = self._node.engine
        port = engine.ports[0] if engine is not None else 0
        way_out = self._way_out() if peer is not None else self._known_hops()
        own = self._node.netmap.self_node
        mesh = [ip_address(text) for text in peer_views.addresses(own)] if own is not None else []
        return await asyncio.gather(self._firewall.look(port, self._node.links, mesh), way_out)

    def _complete(self, peer: Node | None, looked: Looked) -> Testimony | None:
        known = self.testimony(peer)
        return msgspec.structs.replace(known, firewall=looked[0], hops=looked[1]) if known is not None else None

    async def _known_hops(self) -> tuple[str, ...]:
        return self._hops[1]

    async def _way_out(self) -> tuple[str, ...]:
        """Kept until the network is another."""
        links = self._node.links
        if self._hops[0] is not links:
            servers = [r for r in (self._node.netmap.derp_map.regions or {}).values() if r is not None]
            addresses = [node.ipv4 for region in servers for node in region.nodes or () if is_v4(node.ipv4)]
            self._hops = (links, await first_hops(addresses[0], mark=MARK) if addresses else ())
        return self._hops[1]

    def _port_map(self, now: Instant) -> PortMapTold:
        members = view(self._node.home_router.mapping.mapper, now)
        offers = tuple(name for name, has in (("PCP", "PCP"), ("NAT-PMP", "PMP"), ("UPnP", "UPnP")) if members[has])
        gateway = self._node.home_router.gateway
        return PortMapTold(
            router=members["Gateway"] or (str(gateway.address) if gateway is not None else ""),
            offers=offers,
            external=members["External"],
            double_nat=members["DoubleNAT"],
            problem=members["Problem"][:300],
        )

    # --- for our own user --------------------------------------------------------------------------------------

    def daemon(self) -> dict[str, Any]:
        node = self._node
        engine, client, prefs = node.engine, node.client, node.state.prefs
        own = node.netmap.self_node
        expiry = wall_time(own.key_expiry) if own is not None else None
        return {
            "State": node.state_name(),
            "Version": __version__,
            "Port": engine.ports[0] if engine is not None else 0,
            "WantedPort": engine.configured if engine is not None else 0,
            "Tun": node.tun,
            "ControlURL": prefs.control_url,
            "ControlConnected": client is not None and client.session.in_map_poll,
            "ControlAddress": client.last_address if client is not None else "",
            "ClockAhead": client.clock_ahead() if client is not None else None,
            "ControlProblem": client.session.problem if client is not None else "",
            "KeyExpired": node.expired or (expiry is not None and expiry < time.time()),
            "TunnelProblem": node.broken,
            "Health": node.health(),
        }

    def at_once(self) -> dict[str, Any]:
        """`GET doctor?brief=true`: what is known without a look at anything."""
        return {"Daemon": self.daemon(), "Own": self.testimony(None), "Theirs": None, "By": "", "Silence": ""}

    async def answer(self, peer: Node | None, regions: tuple[int, ...] = ()) -> dict[str, Any]:
        """`GET doctor`: this end's testimony and, of a peer that runs ginnel, its own. The peer looks at these regions
        anew."""
        (theirs, by, silence), looked = await asyncio.gather(self._ask(peer, regions), self._look(peer))
        own = self._complete(peer, looked) or self._complete(None, looked)
        return {"Daemon": self.daemon(), "Own": own, "Theirs": theirs, "By": by, "Silence": silence}

    # --- the other end -----------------------------------------------------------------------------------------

    async def _ask(self, peer: Node | None, regions: tuple[int, ...]) -> tuple[Testimony | None, str, str]:
        """Its testimony, by which way, and why there is none."""
        if peer is None:
            return None, "", ""
        if peer.expired:
            return None, "", "its key has expired"
        info = _hostinfo(peer)
        if not info.ipn_version.endswith(peer_views.OURS):
            return None, "", "it runs the official client, which does not tell"
        place = _peer_api_of(peer, info)
        inside = asyncio.ensure_future(self._through_the_tunnel(place, regions))
        await asyncio.wait({inside}, timeout=HEAD_START)
        if inside.done() and inside.result()[0] is not None:
            return inside.result()[0], "tunnel", ""
        (told, why), (by_server, why_not) = await asyncio.gather(inside, self._by_the_server(peer))
        if told is not None:
            return told, "tunnel", ""
        return by_server, "server" if by_server is not None else "", "; ".join(filter(None, (why, why_not)))

    async def _through_the_tunnel(self, place: str | None, regions: tuple[int, ...]) -> tuple[Testimony | None, str]:
        if place is None:
            return None, "it advertises no peer API"
        try:
            async with asyncio.timeout(ASK_TIME):
                question = f"/v0/doctor?region={','.join(map(str, regions))}" if regions else "/v0/doctor"
                page = await fetch("GET", f"http://{place}{question}", mark=0, limit=ANSWER_LIMIT)
            if page.status != 200:
                return None, f"its peer API answers HTTP {page.status}"
            return parse_testimony(page.body), ""
        except TimeoutError:
            return None, "it does not answer through the tunnel"
        except (WebError, WireError) as error:
            return None, str(error)[:300]

    async def _by_the_server(self, peer: Node) -> tuple[Testimony | None, str]:
        client, own = self._node.client, self._node.state.node
        if client is None or own is None:
            return None, "there is no server to ask"
        try:
            async with asyncio.timeout(SERVER_TIME):
                question = encode(PairQuestion(own.public(), peer.key))
                status, body = await client.ask("/machine/doctor", question)
            if status != 200:
                return None, f"the server: {body[:200].decode('utf-8', 'replace').strip() or f'HTTP {status}'}"
            return parse_testimony(body), ""
        except TimeoutError:
            return None, "the server does not answer"
        except (ControlError, WrongServer, WireError) as error:
            return None, str(error)[:300]

    # --- for peers ---------------------------------------------------------------------------------------------

    def asker(self, address: str) -> NodeKey | None:
        """The peer behind a mesh address."""
        node = self._peer_at(address)
        return node.key if node is not None and not node.expired else None

    def _peer_at(self, address: str) -> Node | None:
        peers = self._node.netmap.peers.values()
        return next((peer for peer in peers if address in peer_views.addresses(peer)), None)

    async def testify(self, asker: NodeKey, regions: tuple[int, ...]) -> bytes | None:
        """The answer for that peer; None: there is nothing to say. These regions' relays are asked by STUN first."""
        peer = next((peer for peer in self._node.netmap.peers.values() if peer.key == asker), None)
        if peer is None:
            return None
        looks, seen = await asyncio.gather(self._look(peer), look_at_regions(self._node.netmap.derp_map, regions))
        firewall = looks[0].without_rules() if looks[0] is not None else None
        told = self._complete(peer, (firewall, looks[1]))
        return encode(with_regions(told, seen)) if told is not None else None


def is_v4(text: str) -> bool:
    return text.count(".") == 3 and text.replace(".", "").isdigit()


def _hostinfo(peer: Node) -> Hostinfo:
    try:
        return read_hostinfo(peer.hostinfo)
    except WireError:
        return Hostinfo()


def _peer_api_of(peer: Node, info: Hostinfo) -> str | None:
    """`address:port`, as the peer advertises it; IPv4 first."""
    ports = {service.proto: service.port for service in info.services or ()}
    for address in peer_views.addresses(peer):
        six = ":" in address
        port = ports.get("peerapi6" if six else "peerapi4", 0)
        if 0 < port <= 0xFFFF:
            return f"[{address}]:{port}" if six else f"{address}:{port}"
    return None
