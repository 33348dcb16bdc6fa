"""The daemon's side of the local API: questions are answered from what the node holds, wishes are handed to it.

Room: shell.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from ginnel.core.node.actions import PingFailed
from ginnel.core.node.login import Refused
from ginnel.core.node.netcheck import ENOUGH_REGIONS, VERBOSE_REGIONS
from ginnel.core.node.netcheck_report import Report
from ginnel.core.node.netcheck_text import report_json, report_line, report_text
from ginnel.core.node.portmap.text import lines, view
from ginnel.shell.node import status_json
from ginnel.shell.node.doctor_desk import DoctorDesk
from ginnel.shell.node.engine import EngineClosed
from ginnel.shell.node.hostinfo import host_name
from ginnel.shell.node.local_api import Start
from ginnel.shell.node.local_http import Refusal
from ginnel.shell.node.node import MeshNode
from ginnel.shell.node.peer_api import regions_in
from ginnel.shell.node.state import Prefs
from ginnel.wire.tailcfg import DERPMap, Node, encode
from ginnel.words import Instant, NodeKey

WATCH_EVERY = 1.0


class NodeBackend:
    """The local API's Backend for one node."""

    def __init__(self, node: MeshNode) -> None:
        self._node = node
        self._desk = DoctorDesk(node)

    def set_prefs(self, prefs: Prefs) -> None:
        self._node.set_prefs(prefs)

    def start(self, request: Start) -> None:
        self._node.start(request)

    def login_interactive(self) -> None:
        self._node.login_interactive()

    async def logout(self) -> None:
        await self._node.logout()

    def prefs(self) -> Prefs:
        return self._node.state.prefs

    def status(self, *, peers: bool) -> dict[str, Any]:
        return status_json.status(self._observed(), peers=peers)

    def _observed(self) -> status_json.Observed:
        engine = self._node.engine
        return status_json.Observed(
            state=self._node.state_name(),
            auth_url=self._node.client.session.login.visit if self._node.client is not None else "",
            have_node_key=self._node.state.node is not None,
            node_key=self._node.state.node.public() if self._node.state.node is not None else None,
            host_name=host_name(self._node.state.prefs),
            netmap=self._node.netmap,
            mesh=engine.mesh.status(engine.now()) if engine is not None else None,
            counters=self._counters(),
            health=self._node.health(),
        )

    def _counters(self) -> Mapping[NodeKey, status_json.Counters]:
        if self._node.engine is None:
            return {}
        return {
            NodeKey(peer.key): status_json.Counters(peer.tx_bytes, peer.rx_bytes, peer.last_handshake, peer.last_sent)
            for peer in self._node.engine.pump.peers()
        }

    def whois(self, address: str) -> dict[str, Any]:
        node = self._find(address)
        if node is None:
            raise Refusal(404, f"no machine of the mesh has the address {address[:80]}: `ginnel status` lists them")
        return status_json.whois(node, self._node.netmap)

    def _find(self, address: str) -> Node | None:
        """By `ip`, `ip:port`, `[ip]:port` or node key."""
        text = address.strip()
        host = text.rpartition(":")[0].strip("[]") if text.startswith("[") or text.count(":") == 1 else text
        own = self._node.netmap.self_node
        for node in [*([own] if own is not None else []), *self._node.netmap.peers.values()]:
            if text == str(node.key) or any(prefix.partition("/")[0] == host for prefix in node.addresses):
                return node
        return None

    async def ping(self, address: str, size: int) -> dict[str, Any]:
        node = self._find(address)
        if self._node.engine is None or node is None:
            raise Refusal(404, f"no machine of the mesh has the address {address[:80]}: `ginnel status` lists them")
        name = node.name.rstrip(".").partition(".")[0]
        answer: dict[str, Any] = {
            "IP": address, "NodeIP": node.addresses[0].partition("/")[0] if node.addresses else address,
            "NodeName": name, "Err": "", "LatencySeconds": 0.0, "Endpoint": "", "DERPRegionID": 0,
            "DERPRegionCode": "", "IsLocalIP": node is self._node.netmap.self_node,
        }  # fmt: skip
        if node is self._node.netmap.self_node:
            return answer
        try:
            got = await self._node.engine.ping(node.key, size)
        except EngineClosed as error:
            return answer | {"Err": str(error)}
        if isinstance(got, PingFailed):
            return answer | {"Err": got.reason}
        code = self._region_code(got.region) if got.endpoint is None else ""
        return answer | {
            "LatencySeconds": got.latency, "Endpoint": str(got.endpoint or ""),
            "DERPRegionID": got.region if got.endpoint is None else 0, "DERPRegionCode": code,
        }  # fmt: skip

    def _region_code(self, number: int) -> str:
        region = (self._node.netmap.derp_map.regions or {}).get(number)
        return region.region_code if region is not None else str(number)

    def derp_map(self) -> dict[str, Any]:
        members: dict[str, Any] = msgspec.json.decode(encode(self._node.netmap.derp_map))
        return members

    async def netcheck(self, *, full: bool, verbose: bool) -> dict[str, Any]:
        if self._node.engine is None or not self._node.netmap.derp_map.regions:
            raise Refusal(409, "there is no DERP map yet: run `ginnel up` first")
        try:
            enough = VERBOSE_REGIONS if verbose else ENOUGH_REGIONS
            asked = self._node.engine.netcheck(full=full, enough=enough)
            done, _ = await asyncio.gather(asked, self._node.home_router.mapping.probed())
        except EngineClosed as error:
            raise Refusal(503, str(error)) from None
        news = self._node.home_router.mapping.news
        report = dataclasses.replace(done.report, upnp=news.upnp, pmp=news.pmp, pcp=news.pcp)
        return netcheck_answer(report, self._node.netmap.derp_map, verbose=verbose)

    async def port_mapping(self) -> dict[str, Any]:
        """Look anew, then say what is found and held."""
        router, engine, state = self._node.home_router, self._node.engine, self._node.state
        mapping = router.mapping
        await mapping.looked()
        now = Instant(asyncio.get_running_loop().time())
        members = view(mapping.mapper, now, advertised=engine is not None and engine.mesh.port_map_believed)
        if not members["Gateway"] and not members["Problem"]:
            members["Problem"] = router.why_unasked(state.prefs, logged_in=state.node is not None)
        return {"Text": "\n".join(lines(members)), "Report": members}

    async def watch(self) -> AsyncIterator[dict[str, Any]]:
        """A line at once, at each change, and each second."""
        moved = asyncio.Event()
        self._node.watchers.add(moved)
        try:
            while True:
                moved.clear()
                yield self._event()
                try:
                    async with asyncio.timeout(WATCH_EVERY):
                        await moved.wait()
                except TimeoutError:
                    continue
        finally:
            self._node.watchers.discard(moved)

    def _event(self) -> dict[str, Any]:
        login = self._node.client.session.login if self._node.client is not None else None
        refused = login.state.why if login is not None and isinstance(login.state, Refused) else ""
        problem = self._node.client.session.problem if self._node.client is not None else ""
        return {
            "State": self._node.state_name(),
            "AuthURL": login.visit if login is not None else "",
            "Refused": refused,
            "Problem": problem,
            "EverAccepted": self._node.state.node is not None,
            "Health": self._node.health(),
        }

    def doctor_at_once(self) -> dict[str, Any]:
        return self._desk.at_once()

    async def doctor(self, peer: str, regions: str) -> dict[str, Any]:
        """What this end knows of the way to a peer ("": of its network alone), and the other end's word, which looks at
        these regions anew (`1,7`)."""
        node = self._find(peer) if peer else None
        if peer and (node is None or node is self._node.netmap.self_node):
            raise Refusal(404, f"no peer of the mesh has the address {peer[:80]}: `ginnel status` lists them")
        return await self._desk.answer(node, regions_in(f"?region={regions}".encode()))

    def inside(self) -> dict[str, Any]:
        engine = self._node.engine
        if engine is None:
            return {}
        return {
            "Pump": engine.pump.counters(),
            "Drops": dict(engine.mesh.drops),
            "Port": engine.configured,
            "Ports": list(engine.ports),
            "Health": engine.health | self._node.firewall.health,
            "Paths": status_json.paths(engine.mesh.status(engine.now())),
        }


def netcheck_answer(report: Report, derp_map: DERPMap, *, verbose: bool = False) -> dict[str, Any]:
    """The report in words, in Tailscale's JSON, and in its one line for logs."""
    now = datetime.now().astimezone()
    return {
        "Text": report_text(report, derp_map, now, verbose=verbose),
        "Report": report_json(report, now),
        "Line": report_line(report),
    }
