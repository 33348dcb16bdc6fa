"""One mesh member of the daemon, as the user sees it: wishes, log-in and log-out, its state and what ails it.

Room: shell. How its parts are held together is in node_core.py.
"""

from __future__ import annotations

import asyncio

import msgspec

from ginnel.core.node.control_actions import ControlAction
from ginnel.core.node.control_session import ControlSession
from ginnel.core.node.login import Idle, Refused
from ginnel.shell.node.local_api import Start
from ginnel.shell.node.local_http import Refusal
from ginnel.shell.node.node_core import NodeCore
from ginnel.shell.node.state import Prefs

LOGOUT_TIME = 10.0


class MeshNode(NodeCore):
    """The local API's Backend."""

    # --- what the user asks ------------------------------------------------------------------------------------

    def set_prefs(self, prefs: Prefs) -> None:
        before = self.state.prefs
        if prefs == before:
            return
        self._keeper.set_prefs(prefs)
        self._tell_policies()
        if not prefs.want_running:
            self._rest(self._engine_key)
        elif self.client is None or prefs.control_url != before.control_url:
            self._stop_control()
            self._start_control(lambda session: session.start())
        else:
            self._tell_server()
        self._route()

    def start(self, request: Start) -> None:
        before = self.state.prefs
        prefs = request.update_prefs or before
        if not prefs.control_url:
            raise Refusal(400, "no coordination server is named: give --login-server or --invite")
        self._keeper.set_prefs(msgspec.structs.replace(prefs, want_running=True, logged_out=False))
        self._tell_policies()
        same_server = (prefs.control_url, prefs.server_key) == (before.control_url, before.server_key)
        client = self.client
        fresh, auth_key = request.force_reauth, request.auth_key

        def begin(session: ControlSession) -> list[ControlAction]:
            return session.start(auth_key=auth_key, fresh=fresh)

        if client is None or not same_server or isinstance(client.session.login.state, Refused):
            self._stop_control()
            self._start_control(begin)
        elif self.state_name() != "Running" or fresh:
            client.input(begin)
        self._tell_server()
        self._route()

    def login_interactive(self) -> None:
        if self.client is None:
            raise Refusal(409, "the node is stopped: run `ginnel up`")
        self.client.input(lambda session: session.start(fresh=True))

    async def logout(self) -> None:
        if self.state.node is None:
            self._keeper.never_logged_in()
            self._rest(self._engine_key)
            return
        if self.client is None:
            self._start_control(lambda _: [])
            await asyncio.sleep(0)  # the client's task begins
        client = self.client
        assert client is not None
        try:
            async with asyncio.timeout(LOGOUT_TIME):
                await client.leave(lambda session: session.logout())
        except TimeoutError:
            raise Refusal(504, "the server does not answer; this machine is still logged in, try again") from None
        if not isinstance(client.session.login.state, Idle):
            why = client.session.login.problem
            raise Refusal(502, f"this machine is still logged in: {why or 'the server did not confirm'}")

    def state_name(self) -> str:
        """Tailscale's states (tailscale: ipn/backend.go)."""
        client = self.client
        if not self.state.prefs.want_running or client is None:
            return "Stopped" if self.state.node is not None else "NeedsLogin"
        login = client.session.login
        if self.expired or login.visit or isinstance(login.state, Refused) or self.state.node is None:
            return "NeedsLogin"
        if self.netmap.self_node is None:
            return "Starting"
        if not self.netmap.self_node.machine_authorized:
            return "NeedsMachineAuth"
        ready = self.engine is not None and self.engine.home and self._host.routed.addresses
        return "Running" if ready else "Starting"

    @property
    def broken(self) -> str:
        """Why there is no tunnel; "" while there is one."""
        return self._broken

    def health(self) -> list[str]:
        lines = list(self.engine.health.values()) if self.engine is not None else []
        lines += self.finder.problems
        lines += self._host.problems
        lines += self.firewall.health.values()
        if self.expired:
            lines.append("this machine's key has expired: run `ginnel up --force-reauth`")
        if self.client is not None and self.client.session.problem:
            lines.append(f"no connection to {self.state.prefs.control_url}: {self.client.session.problem}")
        lines += [line for line in (self._broken, self._keeper.unsaved) if line]
        return lines + list(self.netmap.health)
