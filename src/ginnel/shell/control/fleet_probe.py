"""Looking at a relay from outside, as a client would: DERP over TLS, STUN, the captive-portal answer, at each address.

Room: shell. Whether a relay is fit for the map is judged by `Outlook.verdict` and by the fleet's core.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from ginnel.core.control.derp_entry import NO_FAMILY
from ginnel.core.node.names import verify_of
from ginnel.core.relay.identity import as_address
from ginnel.shell.node.dial import DialError, Streams, open_streams, resolve
from ginnel.shell.node.latency import open_relay
from ginnel.wire.derp import FrameReader, ServerInfo, ServerKey, frame, parse
from ginnel.wire.derplogin import Introduction, open_server_info, seal_client_info, upgrade_request
from ginnel.wire.generate204 import ANSWER_LIMIT, expected_response, head_is_there, parse_answer, request
from ginnel.wire.read import WireError
from ginnel.wire.stun import binding_request, parse_binding_success
from ginnel.wire.tailcfg import DERPNode
from ginnel.words import NodeKey, NodePrivate

STEP_TIME = 3.0
STUN_TIMES = (0.5, 1.0, 1.2)
"""Seconds to wait for each of three requests: a datagram may get lost."""

Service = Literal["DERP", "STUN", "HTTP"]
Result = Literal["good", "failed", "not tried"]
NO_FAMILY_HERE = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


@dataclass(frozen=True, slots=True)
class Finding:
    """One address and port. `result` "not tried": this server has no such family, so it cannot tell."""

    service: Service
    address: str
    port: int
    result: Result
    detail: str = ""
    seconds: float = 0.0

    @property
    def family(self) -> int:
        return 6 if ":" in self.address else 4


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a look at one relay found. `key`: of its DERP server, None if it was not seen."""

    findings: tuple[Finding, ...]
    key: NodeKey | None = None
    problem: str = ""  # why there was nothing to look at

    def _families(self, result: Result, service: Service) -> set[int]:
        return {f.family for f in self.findings if f.service == service and f.result == result}

    @property
    def good(self) -> bool:
        """By one family at least everything that a client needs answers."""
        return bool(self._whole())

    def _whole(self) -> set[int]:
        return self._families("good", "DERP") - self._families("failed", "STUN") - self._families("failed", "DERP")

    @property
    def why(self) -> str:
        """What is wrong, in one line; "" when nothing is."""
        if self.problem:
            return self.problem
        failed = [f"{f.service} at {_place(f)}: {f.detail}" for f in self.findings if f.result == "failed"]
        if not failed and not self.good:
            return "this server has none of the relay's address families"
        return "; ".join(failed[:3])

    def entry(self, node: DERPNode) -> DERPNode:
        """The relay as it may stand in the map: with the addresses that answer, those that cannot be tried from here
        taken at its word, and port 80 only if it answers as clients expect."""
        addresses = {f.family: f.address for f in reversed(self.findings) if f.service == "DERP"}
        whole = self._whole() | self._families("not tried", "DERP")
        http = any(f.service == "HTTP" and f.family == 4 and f.result == "good" for f in self.findings)
        return msgspec.structs.replace(
            node,
            ipv4=addresses.get(4, NO_FAMILY) if 4 in whole else NO_FAMILY,
            ipv6=addresses.get(6, NO_FAMILY) if 6 in whole else NO_FAMILY,
            can_port80=node.can_port80 and http,
        )


def _place(finding: Finding) -> str:
    address = f"[{finding.address}]" if ":" in finding.address else finding.address
    return f"{address}:{finding.port}"


@dataclass(frozen=True, slots=True)
class Prober:
    """`own`: the key by which it logs in; relays of the fleet have it among their members."""

    own: NodePrivate

    async def look(self, node: DERPNode, key: NodeKey | None, *, let_in: bool, http_port: int = 80) -> Outlook:
        """`key`: the relay's, None if it is not known. `let_in`: whether the login must succeed, as it does not on a
        relay that drains or that others run."""
        addresses = await addresses_of(node)
        if not addresses:
            return Outlook((), problem=f"the name {node.host_name} has no address")
        seen: list[NodeKey] = []
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._derp(node, ip, key, seen, let_in)) for ip in addresses]
            if node.stun_port >= 0:
                tasks += [group.create_task(_stun(ip, node.stun_port or 3478)) for ip in addresses]
            if node.can_port80:
                tasks += [group.create_task(_port80(ip, http_port)) for ip in addresses]
        return Outlook(tuple(task.result() for task in tasks), seen[0] if seen else None)

    async def _derp(self, node: DERPNode, ip: str, key: NodeKey | None, seen: list[NodeKey], let_in: bool) -> Finding:
        port = node.derp_port or 443

        async def log_in() -> str:
            streams = await open_relay(node.host_name, [(ip, port)], verify_of(node), mark=0)
            try:
                shown, entered = await self._introduce(streams, node.host_name)
            finally:
                streams.writer.close()
            if key is not None and shown != key:
                raise WireError(f"another relay answers: its key is {shown.short()}, expected {key.short()}")
            if let_in and not entered:
                raise WireError("it does not let this server's prober in, so it would let no member in")
            seen.append(shown)
            return "login" if entered else "shows its key"

        return await _timed("DERP", ip, port, log_in)

    async def _introduce(self, streams: Streams, host: str) -> tuple[NodeKey, bool]:
        """The relay's key, and whether it let us in. Raises WireError and connection errors."""
        streams.writer.write(upgrade_request(f"[{host}]" if ":" in host else host))
        head = await streams.reader.readuntil(b"\r\n\r\n")
        status = head.split(b"\r\n", 1)[0][:60]
        if status.split(b" ", 2)[1:2] != [b"101"]:
            raise WireError(f"expected an upgrade to DERP, got {status!r}")
        reader, relay = FrameReader(), None
        while data := await streams.reader.read(65536):
            for kind, body in reader.feed(data):
                message = parse(kind, body)
                if isinstance(message, ServerKey):
                    relay = message.key
                    hello = Introduction(version=2, can_ack_pings=True, is_prober=True, app_name="ginnel-fleet")
                    streams.writer.write(frame(seal_client_info(self.own, relay, hello, os.urandom(24))))
                elif isinstance(message, ServerInfo) and relay is not None:
                    open_server_info(self.own, relay, message)
                    return relay, True
        if relay is None:
            raise WireError("the connection was closed before the relay showed its key")
        return relay, False


async def addresses_of(node: DERPNode) -> list[str]:
    """One of each family at most: those of the entry, else those of the name."""
    literal = as_address(node.host_name)
    found = [text for text in (node.ipv4, node.ipv6) if as_address(text) is not None]
    if literal is not None and str(literal) not in found:
        found.append(str(literal))
    wanted = {version for version, text in ((4, node.ipv4), (6, node.ipv6)) if text == ""}
    if literal is None and wanted:
        named = await resolve(node.host_name)
        for version in sorted(wanted):
            found += [text for text in named if (6 if ":" in text else 4) == version][:1]
    return found


async def _timed(service: Service, ip: str, port: int, work: Callable[[], Awaitable[str]]) -> Finding:
    began = time.monotonic()
    result: Result = "failed"
    try:
        async with asyncio.timeout(STEP_TIME):
            detail = await work()
        result = "good"
    except TimeoutError:
        detail = "no answer"
    except (DialError, WireError, OSError, EOFError, asyncio.LimitOverrunError) as error:
        number = error.errno if isinstance(error, OSError) else None
        detail = os.strerror(number).lower() if number else str(error) or type(error).__name__
        if not _has_family(ip):
            result, detail = "not tried", "this server has no such address family"
    return Finding(service, ip, port, result, detail, round(time.monotonic() - began, 4))


def _has_family(ip: str) -> bool:
    """Whether a packet could leave; a connected UDP socket sends none."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as trying:
            trying.connect((ip, 9))
    except OSError as error:
        return error.errno not in NO_FAMILY_HERE
    return True


async def _stun(ip: str, port: int) -> Finding:
    async def ask() -> str:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asking:
            asking.connect((ip, port))
            for patience in STUN_TIMES:
                transaction = os.urandom(12)
                await loop.sock_sendall(asking, binding_request(transaction))
                try:
                    async with asyncio.timeout(patience):
                        answer = parse_binding_success(await loop.sock_recv(asking, 2048))
                except TimeoutError:
                    continue
                if answer.transaction_id != transaction:
                    continue
                return f"we are {answer.mapped}"
        raise WireError("no answer; is UDP let through?")

    return await _timed("STUN", ip, port, ask)


async def _port80(ip: str, port: int) -> Finding:
    async def ask() -> str:
        challenge = f"ts_{ip.replace(':', '.')}_{secrets.token_hex(4)}"
        host = f"[{ip}]" if ":" in ip else ip
        streams = await open_streams(host, port, mark=0, addresses=[(ip, port)])
        came = bytearray()
        try:
            streams.writer.write(request(host, challenge))
            while not head_is_there(came) and (data := await streams.reader.read(ANSWER_LIMIT)):
                came += data
        finally:
            streams.writer.close()
        answer = parse_answer(bytes(came))
        if answer.status != 204 or answer.response != expected_response(challenge):
            raise WireError(f"HTTP {answer.status}, expected 204 and the answer to the challenge")
        return "204"

    return await _timed("HTTP", ip, port, ask)
