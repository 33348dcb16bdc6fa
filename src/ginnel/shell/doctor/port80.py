"""The relays' port 80: whether somebody else answers there, and what time it is by their answers.

Room: shell.
"""

from __future__ import annotations

import asyncio
import time

from ginnel.core.doctor.evidence import Clock, Port80
from ginnel.core.node.actions import AskPort80
from ginnel.core.node.captive import Relay80, Sign, judge, relays_to_ask
from ginnel.core.node.routing import MARK
from ginnel.shell.doctor.clocks import clock_by
from ginnel.shell.node.port80 import ask
from ginnel.wire import generate204
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import RegionId


async def look_at_port80(derp_map: DERPMap) -> tuple[Port80, tuple[Clock, ...]]:
    """The clocks are those of relays that answered themselves: what a portal says of the time is no evidence."""
    relays = relays_to_ask(derp_map, RegionId(0))
    if not relays:
        return Port80.UNASKED, ()
    seen = await asyncio.gather(*(_sign(number, relay) for number, relay in enumerate(relays)))
    signs = [sign for sign, _ in seen]
    return _joined(signs), tuple(clock for sign, clock in seen if clock is not None and sign is Sign.TRUE)


def _joined(signs: list[Sign]) -> Port80:
    if Sign.TRUE in signs:
        return Port80.TRUE
    if Sign.FORGED in signs:
        return Port80.FORGED
    return Port80.STRIPPED if Sign.STRIPPED in signs else Port80.SILENT


async def _sign(number: int, relay: Relay80) -> tuple[Sign, Clock | None]:
    challenge = f"ts_doctor{number}"
    began = time.time()
    came = await ask(AskPort80(number, relay.address, challenge), mark=MARK)
    try:
        answer = generate204.parse_answer(came)
    except WireError:
        return Sign.NOTHING, None
    return judge(answer, challenge, relay), clock_by(f"relay {relay.host_name}", answer.date, began)
