"""The daemon's part of `ginnel doctor`: its own testimony, and the other end's.

Room: shell.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from ginnel import __version__
from ginnel.core.node import peer_views
from ginnel.core.node.portmap.text import view
from ginnel.shell.node.hostinfo import host_name
from ginnel.shell.node.local_http import Refusal
from ginnel.shell.node.node import MeshNode
from ginnel.shell.node.state import PIN, server_pins
from ginnel.wire.doctor import PortMapTold, Testimony
from ginnel.wire.tailcfg import Node, wall_time
from ginnel.words import Instant


class DoctorDesk:
    """What one node can say to its own user, and to a peer that asks about the way between them."""

    def __init__(self, node: MeshNode) -> None:
        self._node = node

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
            known, program=f"{__version__}-ginnel", name=name, port_map=self._port_map(engine.now())
        )

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
            "WantedPort": engine.configured_port if engine is not None else 0,
            "Tun": node.tun,
            "ControlURL": prefs.control_url,
            "ControlConnected": client is not None and client.session.in_map_poll,
            "ControlProblem": client.session.problem if client is not None else "",
            "ControlTrust": self._trust(),
            "KeyExpired": node.expired or (expiry is not None and expiry < time.time()),
            "TunnelProblem": node.broken,
            "Health": node.health(),
            "RandomPort": own is not None and peer_views.has_attribute(own, "randomize-client-port"),
        }

    def _trust(self) -> str:
        """As `RelayOpen.verify` writes it; an invite's key makes any certificate do."""
        prefs = self._node.state.prefs
        pins = server_pins(prefs, self._node.netmap.derp_map)
        if pins:
            return PIN + min(pins)
        host = prefs.control_url.partition("://")[2].partition("/")[0].partition(":")[0]
        return "insecure" if prefs.server_key else f"name:{host}"

    async def answer(self, peer: Node | None) -> dict[str, Any]:
        """`GET doctor`."""
        own = self.testimony(peer)
        if peer is not None and own is None:
            raise Refusal(404, "this node does not run, or does not know that machine")
        answer: dict[str, Any] = {"Daemon": self.daemon(), "Own": own, "Theirs": None, "By": "", "Silence": ""}
        await asyncio.sleep(0)
        return answer
