"""The router that this machine's way out leads to, and the port that it holds open for the node.

Room: shell. When a port is wanted: the node is up and logged in, the user and the daemon's start allow it, and there is
a router with a private address.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any

from ginnel.core.node import peer_views
from ginnel.core.node.netmap import NetMap
from ginnel.core.node.portmap.actions import Gateway, PortMapped
from ginnel.core.node.portmap.mapper import PortMapper
from ginnel.core.node.routing import MARK
from ginnel.shell.node.engine import Engine
from ginnel.shell.node.gateway import read_gateway
from ginnel.shell.node.portmap import PortMapping, Wish
from ginnel.shell.node.state import Prefs, State

log = logging.getLogger(__name__)

NO_UPNP = "debug-disable-upnp"  # an attribute of the policy (tailscale: tailcfg.NodeAttrDisableUPnP)


class HomeRouter:
    """`mapping`: what is asked and held. `tell` hears the news of it."""

    def __init__(
        self,
        tun: str,
        state: State,
        *,
        allowed: bool,
        tell: Callable[[PortMapped], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        secret = hashlib.blake2b(state.machine.raw, person=b"ginnel-portmap").digest()
        self.mapping = PortMapping(PortMapper(os.urandom, secret), mark=MARK, tell=tell, spawn=spawn)
        self._tun = tun
        self._allowed = allowed
        self._gateway: Gateway | None = None

    @property
    def gateway(self) -> Gateway | None:
        """As last read."""
        return self._gateway

    def read(self) -> bool:
        """Look at the way out; whether it is another one."""
        try:
            gateway = read_gateway(self._tun)
        except OSError as error:
            log.error("cannot read this machine's routes: %s", error)
            return False
        before, self._gateway = self._gateway, gateway
        return gateway != before

    def why_unasked(self, prefs: Prefs, *, logged_in: bool) -> str:
        """Why no router is asked, and what to do; "" where one is."""
        if not self._allowed:
            return "ginneld runs with --no-port-mapping: start it without"
        if not logged_in or not prefs.want_running:
            return "this node is down: `ginnel up` connects it"
        if prefs.no_port_mapping:
            return "it is switched off: `ginnel up --port-mapping` allows it"
        return "" if self._gateway is not None else "no home router: the default route has no private IPv4 gateway"

    def follow(self, state: State, engine: Engine, netmap: NetMap) -> None:
        """Cheap while nothing changes."""
        prefs, own = state.prefs, netmap.self_node
        wanted = self._allowed and prefs.want_running and not prefs.no_port_mapping and state.node is not None
        wish = Wish(
            self._gateway,
            engine.ports[0] if wanted else 0,
            with_upnp=own is None or not peer_views.has_attribute(own, NO_UPNP),
        )
        self.mapping.follow(wish, active=engine.mesh.is_active(engine.now()))
