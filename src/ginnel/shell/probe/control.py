"""A coordination server, step by step as a node comes to it: TCP, TLS, /key, then on a second connection the upgrade
to ts2021 and the Noise handshake. And hosts that only have to answer over HTTPS: the login page's, the logs'.

Room: shell. Source: tailscale: control/controlhttp/client.go, control/controlclient/direct.go loadServerPubKeys.
"""

from __future__ import annotations

import asyncio
import base64
import os
from dataclasses import dataclass, replace

from ginnel.core.channel import ClientChannel, Closed, Opened
from ginnel.core.firewall.evidence import Ending, Evidence, Step
from ginnel.core.node.login import CAPABILITY_VERSION
from ginnel.shell.probe.line import Broken, Line
from ginnel.shell.probe.opened import Door, opened
from ginnel.shell.probe.page import PageHead, read_head, read_page
from ginnel.shell.probe.relay import told
from ginnel.wire.read import Malformed
from ginnel.wire.tailcfg import ServerKeys, decode
from ginnel.words import MachineKey, MachinePrivate

PROTOCOL = "tailscale-control-protocol"
REFUSING = (401, 403, 407, 451, 511)
NOISE_LIMIT = 64 << 10


@dataclass(frozen=True, slots=True)
class ControlSeen:
    """evidence: of the last step. key: of the server's Noise. seconds: of all steps."""

    evidence: Evidence
    key: MachineKey | None = None
    seconds: float = 0.0


async def look_at_control(authority: str, door: Door, known: MachineKey | None) -> ControlSeen:
    """`authority`: host and port as the URL has them. `known`: the server's key, from an invite or an earlier login:
    then Noise proves who answers, and a certificate that is not trusted is only told in the evidence."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    key: MachineKey | None = None
    doubt = ""
    try:
        key, door, doubt = await _key(authority, door, known)
        async with opened(door) as line:
            evidence = await _noise(line, authority, door, key)
        seen = ControlSeen(replace(evidence, problem=doubt, pinned=known is not None), key)
    except Broken as broken:
        seen = ControlSeen(replace(broken.evidence, problem=broken.evidence.problem or doubt), key)
    return replace(seen, seconds=loop.time() - began)


async def _key(authority: str, door: Door, known: MachineKey | None) -> tuple[MachineKey, Door, str]:
    """The server's key, the door that can be gone through, and what is wrong with its certificate."""
    try:
        return await _key_by(authority, door, known), door, ""
    except Broken as broken:
        if known is None or door.trust is None or broken.evidence.ending is not Ending.CERTIFICATE:
            raise
        blind, doubt = replace(door, trust=door.trust.blind()), broken.evidence.problem
        try:
            return await _key_by(authority, blind, known), blind, doubt
        except Broken as later:
            raise Broken(replace(later.evidence, problem=later.evidence.problem or doubt)) from None


async def _key_by(authority: str, door: Door, known: MachineKey | None) -> MachineKey:
    async with opened(door) as line:
        async with line.step(Step.UPGRADE, door.patience.step):
            page = await read_page(line, f"/key?v={CAPABILITY_VERSION}", authority)
            if page.status != 200 or page.html:
                raise Broken(told(line, page))
        async with line.step(Step.KEY, door.patience.step):
            key = decode(ServerKeys, page.rest).public_key
            if known is not None and key != known:
                raise Malformed(f"somebody stands between: its key is {key.short()}, expected {known.short()}")
            return key


async def _noise(line: Line, authority: str, door: Door, key: MachineKey) -> Evidence:
    channel = ClientChannel(
        MachinePrivate(os.urandom(32)), key, CAPABILITY_VERSION, os.urandom(32), authority=authority
    )
    async with line.step(Step.UPGRADE, door.patience.step):
        await line.send(upgrade(authority, channel.initiation()))
        head = await read_head(line)
        if head.status != 101 or head.fields.get("upgrade", "").lower() != PROTOCOL:
            raise Broken(told(line, head))
    async with line.step(Step.LOGIN, door.patience.step):
        await _handshake(line, channel, head)
        return line.evidence(Step.LOGIN, Ending.DONE)


def upgrade(authority: str, initiation: bytes) -> bytes:
    handshake = base64.b64encode(initiation).decode()
    return (
        f"POST /ts2021 HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: ginnel\r\nContent-Length: 0\r\n"
        f"Connection: upgrade\r\nUpgrade: {PROTOCOL}\r\nX-Tailscale-Handshake: {handshake}\r\n\r\n"
    ).encode()


async def _handshake(line: Line, channel: ClientChannel, head: PageHead) -> None:
    data, count = head.rest, len(head.rest)
    while True:
        for event in channel.receive(data) if data else ():
            if isinstance(event, Opened):
                return
            if isinstance(event, Closed):
                raise Malformed(f"the handshake ended: {event}")
        if count > NOISE_LIMIT:
            raise Malformed(f"no handshake within {NOISE_LIMIT} bytes")
        data = await line.receive()
        count += len(data)


async def look_at_page(authority: str, door: Door) -> ControlSeen:
    """A host of which any answer will do that is not a refusal."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with opened(door) as line, line.step(Step.UPGRADE, door.patience.step):
            page = await read_page(line, "/", authority)
            if page.status in REFUSING:
                raise Broken(told(line, page))
            evidence = line.evidence(Step.UPGRADE, Ending.DONE)
    except Broken as broken:
        evidence = broken.evidence
    return ControlSeen(evidence, seconds=loop.time() - began)
