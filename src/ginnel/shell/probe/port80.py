"""/generate_204 with a challenge, in plain HTTP, and who answered it.

Room: shell. core/node/captive.py judges; here its answer becomes evidence.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from ipaddress import ip_address

from ginnel.core.firewall.evidence import Ending, Evidence, Step
from ginnel.core.node.captive import Relay80, Sign, judge
from ginnel.shell.probe.line import Broken, Line
from ginnel.wire.generate204 import ANSWER_LIMIT, Answer, head_is_there, parse_answer, request

PORT = 80
NO_PORTAL = "from the relay's own web server, or from an honest proxy"
PATIENCE = 2.5


@dataclass(frozen=True, slots=True)
class Port80Seen:
    """sign: None without an answer."""

    evidence: Evidence
    sign: Sign | None = None


async def look_at_port80(host_name: str, address: str, *, mark: int, port: int = PORT) -> Port80Seen:
    """`host_name`: the relay's, to which its own web server may redirect."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    challenge = f"ts_{secrets.token_hex(8)}"
    try:
        line = await Line.connect(address, port, mark=mark, patience=PATIENCE)
    except Broken as broken:
        return Port80Seen(replace(broken.evidence, step=Step.PORT80))
    try:
        async with line.step(Step.PORT80, max(0.1, PATIENCE - (loop.time() - began))):
            answer = parse_answer(await _ask(line, address, challenge))
            sign = judge(answer, challenge, Relay80(host_name, ip_address(address)))
            return Port80Seen(_judged(line, answer, sign), sign)
    except Broken as broken:
        silent = broken.evidence.ending is Ending.SILENCE
        return Port80Seen(replace(broken.evidence, error="connected") if silent else broken.evidence)
    finally:
        line.close()


async def _ask(line: Line, address: str, challenge: str) -> bytes:
    await line.send(request(f"[{address}]" if ":" in address else address, challenge))
    came = bytearray()
    while not head_is_there(came):
        try:
            came += await line.receive()
        except EOFError:
            if not came:
                raise
            break
    return bytes(came[:ANSWER_LIMIT])


def _judged(line: Line, answer: Answer, sign: Sign) -> Evidence:
    """A 204 without our challenge is what honest proxies make of it: no portal where all else works."""
    if sign in (Sign.TRUE, Sign.STRIPPED):
        return replace(line.evidence(Step.PORT80, Ending.DONE), status=answer.status)
    evidence = line.evidence(Step.PORT80, Ending.ANSWER)
    if sign is Sign.NOTHING:
        return replace(evidence, status=answer.status, error=NO_PORTAL)
    return replace(evidence, status=answer.status, location=answer.location[:120])
