"""Looking at a region's relays as a new node would: TLS, five DERP logins, STUN, port 80 (tailscale:
ipn/localapi/debugderp.go).

Room: shell.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field

from ginnel.core.node.names import verify_of
from ginnel.core.node.routing import MARK
from ginnel.shell.node.dial import SO_MARK, DialError, Streams, resolve
from ginnel.shell.node.latency import open_relay
from ginnel.shell.node.web import WebError, fetch
from ginnel.wire.derp import FrameReader, ServerInfo, ServerKey, frame, parse
from ginnel.wire.derplogin import introduction, open_server_info, seal_client_info
from ginnel.wire.read import WireError
from ginnel.wire.stun import binding_request, parse_binding_success
from ginnel.wire.tailcfg import DERPNode, DERPRegion
from ginnel.words import NodeKey, NodePrivate

LOGINS = 5
STEP_TIME = 5.0


@dataclass(slots=True)
class Findings:
    """Lines for people."""

    info: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


async def probe_region(region: DERPRegion, *, only_region: bool) -> Findings:
    """Everything that can be wrong with a region, and what is right."""
    found = Findings()
    found.info.append(f'Region {region.region_id} == "{region.region_code}"')
    if only_region:
        found.warnings.append("the DERP map has this region alone: one machine down, and nobody is relayed")
    if not region.nodes:
        found.errors.append("the region has no nodes")
    for node in region.nodes or []:
        await _probe_node(node, found)
    return found


async def _probe_node(node: DERPNode, found: Findings) -> None:
    addresses = await _addresses(node)
    if not addresses:
        found.errors.append(f"node {node.name}: {node.host_name} has no address")
    for address in addresses:
        if not node.stun_only:
            await _probe_logins(node, address, found)
        if node.stun_port >= 0 and ":" not in address:
            await _probe_stun(node, address, found)
    if node.can_port80 and node.ipv4:
        await _probe_port80(node, found)


async def _addresses(node: DERPNode) -> list[str]:
    written = [text for text in (node.ipv4, node.ipv6) if _is_address(text)]
    if "" not in (node.ipv4, node.ipv6):
        return written
    looked_up = await resolve(node.host_name)
    return written + [ip for ip in looked_up if not (node.ipv6 if ":" in ip else node.ipv4)]


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, text)
            return True
    return False


async def _probe_logins(node: DERPNode, address: str, found: Findings) -> None:
    """Several logins: behind a load balancer they would meet relays with different keys."""
    place = f"node {node.name} at {address} port {node.derp_port or 443}"
    keys: set[NodeKey] = set()
    let_in = True
    for _ in range(LOGINS):
        try:
            async with asyncio.timeout(STEP_TIME):
                key, let_in = await _login(node, address)
                keys.add(key)
        except (DialError, WireError, OSError, EOFError, TimeoutError) as error:
            found.errors.append(f"{place}: {error or 'no answer'}")
            return
    if let_in:
        found.info.append(f"{place}: TLS and {LOGINS} DERP logins succeeded")
    else:
        found.info.append(f"{place}: TLS succeeded, and the relay showed its key {LOGINS} times")
        found.warnings.append(f"{place}: strangers are not let in; whether members are, `ginnel status` tells")
    if len(keys) > 1:
        found.errors.append(f"{place}: {len(keys)} different relays answer; a load balancer must not stand before one")


async def _login(node: DERPNode, address: str) -> tuple[NodeKey, bool]:
    """Log in with a key made for this; returns the relay's key and whether it let that stranger in.
    Raises WireError and connection errors."""
    streams = await open_relay(node.host_name, [(address, node.derp_port or 443)], verify_of(node), mark=MARK)
    try:
        streams.writer.write(
            f"GET /derp HTTP/1.1\r\nHost: {node.host_name}\r\nUser-Agent: ginnel\r\n"
            "Upgrade: DERP\r\nConnection: Upgrade\r\n\r\n".encode("ascii")
        )
        head = await streams.reader.readuntil(b"\r\n\r\n")
        status = head.split(b"\r\n", 1)[0][:60]
        if status.split(b" ")[1:2] != [b"101"]:
            raise WireError(f"expected an upgrade to DERP, got {status!r}")
        return await _introduce(streams)
    finally:
        streams.writer.close()


async def _introduce(streams: Streams) -> tuple[NodeKey, bool]:
    own = NodePrivate(os.urandom(32))
    reader, relay = FrameReader(), None
    while data := await streams.reader.read(65536):
        for kind, body in reader.feed(data):
            message = parse(kind, body)
            if isinstance(message, ServerKey):
                relay = message.key
                info = seal_client_info(own, relay, introduction(app_name="ginnel-debug"), os.urandom(24))
                streams.writer.write(frame(info))
            elif isinstance(message, ServerInfo) and relay is not None:
                open_server_info(own, relay, message)
                return relay, True
    if relay is None:
        raise WireError("the connection was closed before the relay showed its key")
    return relay, False


async def _probe_stun(node: DERPNode, address: str, found: Findings) -> None:
    port = node.stun_port or 3478
    place = f"node {node.name}: STUN at {address} port {port}"
    transaction = os.urandom(12)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asking:
        with suppress(PermissionError):
            asking.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK)
        try:
            asking.connect((address, port))
            async with asyncio.timeout(STEP_TIME):
                await loop.sock_sendall(asking, binding_request(transaction))
                answer = parse_binding_success(await loop.sock_recv(asking, 2048))
        except (OSError, WireError, TimeoutError) as error:
            found.errors.append(f"{place}: {error or 'no answer; is UDP let through?'}")
            return
    found.info.append(f"{place}: answers that we are {answer.mapped}")


async def _probe_port80(node: DERPNode, found: Findings) -> None:
    url = f"http://{node.ipv4}/generate_204"
    try:
        async with asyncio.timeout(STEP_TIME):
            page = await fetch("GET", url, mark=MARK)
    except (WebError, TimeoutError) as error:
        found.warnings.append(f"{url}: {error or 'no answer'}; captive portals cannot be told")
        return
    if page.status == 204:
        found.info.append(f"{url}: 204, as it should be")
    else:
        found.errors.append(f"{url}: HTTP {page.status}, expected 204")
