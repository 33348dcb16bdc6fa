"""A TLS connection to a host, or evidence of why there is none: with second tries that tell one filter from another.

Room: shell. A stall after the ClientHello may be a path that loses large packets: then small segments get through. It,
or a reset, may be a filter that reads the host's name: then a ClientHello without a name gets an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from ginnel.core.firewall.evidence import Ending, Evidence, Leaf, Step
from ginnel.core.relay.identity import as_address
from ginnel.shell.probe.line import Broken, Line
from ginnel.shell.probe.trust import Trust

SMALL_SEGMENT = 536
SPEAKS_OF_NAMES = (Ending.SILENCE, Ending.RESET, Ending.CLOSED, Ending.ANSWER)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a step may take. connect: room for the SYN and its second and third (after 1 s and 3 s)."""

    connect: float = 3.2
    step: float = 3.0
    login: float = 1.5


@dataclass(frozen=True, slots=True)
class Door:
    """Where to connect. trust None: plain TCP. mark: of SO_MARK."""

    address: str
    port: int
    trust: Trust | None
    mark: int = 0
    patience: Patience = Patience()

    async def connect(self, segment: int = 0) -> Line:
        return await Line.connect(
            self.address, self.port, mark=self.mark, patience=self.patience.connect, segment=segment
        )


@asynccontextmanager
async def opened(door: Door) -> AsyncIterator[Line]:
    """Connected, and secured where the door asks for it. Raises Broken, whose evidence tells all that can be found."""
    line = await door.connect()
    try:
        if door.trust is not None:
            try:
                await line.secure(door.trust, patience=door.patience.step)
            except Broken as broken:
                raise Broken(await _looked_into(door, door.trust, broken.evidence)) from None
        yield line
    finally:
        line.close()


async def _looked_into(door: Door, trust: Trust, evidence: Evidence) -> Evidence:
    if evidence.ending is Ending.CERTIFICATE:
        return evidence if evidence.leaf is not None else replace(evidence, leaf=await _leaf(door, trust))
    small, nameless = await asyncio.gather(
        _with_small_segments(door, trust, evidence), _without_name(door, trust, evidence)
    )
    return replace(evidence, small_segments=small, without_name=nameless)


async def _leaf(door: Door, trust: Trust) -> Leaf | None:
    """Python's TLS shows no certificate that it refused: look again, and trust nothing."""
    try:
        line = await door.connect()
    except Broken:
        return None
    try:
        await line.secure(trust.blind(), patience=door.patience.step)
    except Broken as broken:
        return broken.evidence.leaf
    finally:
        line.close()
    return line.leaf


async def _with_small_segments(door: Door, trust: Trust, evidence: Evidence) -> bool | None:
    if evidence.ending is not Ending.SILENCE:
        return None
    seen = await _tried(door, trust.blind(), segment=SMALL_SEGMENT)
    return seen is None


async def _without_name(door: Door, trust: Trust, evidence: Evidence) -> bool | None:
    if evidence.ending not in SPEAKS_OF_NAMES or evidence.status or as_address(trust.name) is not None:
        return None
    if evidence.ending is Ending.ANSWER and evidence.received[:1] != b"\x15":
        return None
    seen = await _tried(door, trust.blind(), name="")
    return seen is None or (seen.step is Step.TLS and seen.count > 0 and seen.received[:1] != b"\x15")


async def _tried(door: Door, trust: Trust, *, name: str | None = None, segment: int = 0) -> Evidence | None:
    """None: TLS stands."""
    try:
        line = await door.connect(segment)
    except Broken as broken:
        return broken.evidence
    try:
        await line.secure(trust, patience=door.patience.step, name=name)
    except Broken as broken:
        return broken.evidence
    finally:
        line.close()
    return None
