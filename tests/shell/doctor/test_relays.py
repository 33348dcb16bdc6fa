"""What became of each server and relay, told as evidence; what came to no end is judged by how the others fared."""

from __future__ import annotations

import asyncio

import pytest

from ginnel.core.firewall.evidence import Ending, Evidence, Step
from ginnel.core.firewall.needs import Role
from ginnel.core.firewall.report import Check, Reach, Target
from ginnel.core.firewall.tried import Asked, Server
from ginnel.core.firewall.verdict import Blocking, Verdict
from ginnel.shell.doctor import relays
from ginnel.shell.doctor.relays import look_at_network, patience_of
from ginnel.shell.firewall.verify import NO_FAMILY, OUT_OF_TIME
from ginnel.wire.tailcfg import DERPMap
from tests.shell.probe.strangers import silent, stranger

CONTROL = Target("https", Role.CONTROL, "vpn.example", 443)
RELAY = Target("https", Role.RELAY, "relay.example", 443, node="1a", region=1, region_code="fra")
STANDS = Verdict(Blocking.NONE, "login succeeds", Evidence(Step.LOGIN, Ending.DONE))
REFUSED = Verdict(Blocking.REFUSED, "nobody", Evidence(Step.CONNECT, Ending.REFUSED))


def reach(target: Target, verdict: Verdict | None = None, why: str = "", address: str = "192.0.2.1") -> Reach:
    return Reach(target, (Check(target, address, verdict, why),))


def told(*reaches: Reach) -> tuple[list[str], list[str]]:
    """What the first one's probe says, and what was not looked at."""
    judged = relays._judged(reaches)
    probe = relays._probe(judged[0])
    return [probe.blocking] if probe is not None else [], [line for one in judged for line in relays._unlooked(one)]


CUT = reach(CONTROL, why=OUT_OF_TIME)
NAME = reach(CONTROL, why=OUT_OF_TIME, address="")


@pytest.mark.parametrize(
    ("first", "other", "probe", "unlooked"),
    [
        (CUT, reach(RELAY, STANDS), ["silent-drop"], 0),
        (CUT, reach(RELAY, REFUSED), [], 1),
        (CUT, reach(RELAY, why=OUT_OF_TIME), [], 2),
        (NAME, reach(RELAY, STANDS), ["dns-failure"], 0),
        (NAME, reach(RELAY, why=OUT_OF_TIME), [], 2),
        (reach(CONTROL, STANDS), CUT, ["none"], 0),
        (reach(CONTROL, why=f"{NO_FAMILY}6", address="2001:db8::1"), reach(RELAY, STANDS), [], 0),
    ],
    ids=["others stand", "none stands", "nothing ended", "a name", "a name alone", "it stands itself", "no IPv6 here"],
)
def test_what_came_to_no_end(first: Reach, other: Reach, probe: list[str], unlooked: int) -> None:
    said, missed = told(first, other)
    assert (said, len(missed)) == (probe, unlooked)


@pytest.mark.parametrize("within", [1.0, 3.8, 6.0])
def test_second_tries_come_to_an_end_within_the_time(within: float) -> None:
    patience = patience_of(within)
    assert patience.connect < within
    assert 2 * patience.step < within


async def test_a_server_that_accepts_and_says_nothing_is_told_as_that_and_in_time() -> None:
    """The look at it ends by itself, second tries and all, before it is cut off."""
    async with stranger(silent) as at:
        asked = Asked(DERPMap(), (Server(Role.CONTROL, f"https://127.0.0.1:{at}"),))
        async with asyncio.timeout(10):
            seen = await look_at_network(asked, mark=0, within=1.5)
    assert seen.control is not None
    assert (seen.control.blocking, seen.unlooked) == ("timeout-after-connect", ())
