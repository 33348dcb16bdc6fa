from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from ginnel.core.doctor.causes import Cause
from ginnel.core.doctor.diagnosis import members, of_pair, of_stranger
from ginnel.core.doctor.evidence import Pair, PingSeen, Port80, Probe, Source
from ginnel.wire.doctor import FirewallTold, PortMapTold, RelayTold, Step, WayTold
from tests.core.doctor.world import (
    ALICE_OUTSIDE,
    BY_RELAY,
    DEAD,
    FRANKFURT,
    HOST,
    NEW_YORK,
    NYC,
    PAIR,
    RELAYED,
    THEIRS,
    end,
    no_udp,
    one_relay,
    pair_cause,
)

HARD = {"nat": "random", "varies": True}
CLOSED = FirewallTold("ufw", closed=True, rule="policy drop", opens="sudo ufw allow 41641/udp")


def relayed(own: dict[str, object] | None = None, theirs: dict[str, object] | None = None) -> Pair:
    return replace(BY_RELAY, own=end(RELAYED, **own or {}), theirs=end(THEIRS, **theirs or {}))


def dead(theirs: dict[str, object] | None = None, **own: object) -> Pair:
    told = end(THEIRS, **theirs) if theirs is not None else None
    source = Source.SERVER if told is not None else Source.MAP
    return replace(DEAD, own=end(RELAYED, **own), theirs=told, source=source)


def without_new_york(pair: Pair) -> Pair:
    return replace(pair, host=one_relay(Probe(NYC, "silent-drop"), stun=False))


BOTH_HARD = relayed(HARD, HARD)
MISSED = (RelayTold(FRANKFURT, connected=True), RelayTold(NEW_YORK, problem="timed out"))
CASES = {
    "two hard NATs": (BOTH_HARD, Cause.HARD_NAT_BOTH),
    "hard and sequential": (relayed(HARD, {"nat": "sequential", "varies": True}), Cause.HARD_NAT_BOTH),
    "hard and easy, guessing off": (relayed(HARD | {"guessing": False}), Cause.HARD_NAT_PAIR),
    "a firewall here, hard NATs": (relayed(HARD | {"firewall": CLOSED}, HARD), Cause.HOST_FIREWALL),
    "a firewall there, hard NATs": (relayed(HARD, HARD | {"firewall": CLOSED}), Cause.PEER_HOST_FIREWALL),
    "a carrier's NAT": (relayed(HARD | {"hops": ("192.168.1.1", "100.64.0.1")}, HARD), Cause.CGNAT_DOUBLE_NAT),
    "perhaps a second NAT": (relayed(HARD | {"hops": ("192.168.1.1", "10.0.0.1")}, HARD), Cause.HARD_NAT_BOTH),
    "no UDP there": (relayed(theirs={"udp": False}), Cause.PEER_UDP_BLOCKED),
    "no UDP here": (replace(BY_RELAY, host=no_udp(HOST), own=end(RELAYED, udp=False)), Cause.UDP_BLOCKED),
    "relays wished for here": (relayed({"policy": "relay"}), Cause.PATH_POLICY_RELAY),
    "relays wished for there": (relayed(theirs={"policy": "relay"}), Cause.PATH_POLICY_RELAY),
    "large packets lost": (
        relayed({"story": (Step("gave up", "192.0.2.1:1", why="loses large packets"),)}),
        Cause.MTU_HOLE,
    ),
    "WireGuard lost": (
        relayed({"ways": (WayTold("192.0.2.1:1", asked=9, shunned="carries no data"),)}),
        Cause.WIREGUARD_FILTERED,
    ),
    "one router, no way inside": (relayed(theirs={"seen_v4": f"{ALICE_OUTSIDE}:7"}), Cause.HAIRPIN),
    "nothing heard, and they reach others": (relayed(theirs={"others_direct": 2}), Cause.TUNNEL_PORT_BLOCKED),
    "nothing heard, and we reach others": (relayed({"others_direct": 2}), Cause.PEER_TUNNEL_PORT_BLOCKED),
    "they let nobody in": (relayed(theirs={"lets_in": False}), Cause.POLICY_DENIES),
    "their key has expired": (replace(DEAD, peer=replace(DEAD.peer, expired=True)), Cause.PEER_KEY_EXPIRED),
    "they are offline": (replace(DEAD, peer=replace(DEAD.peer, online=False)), Cause.PEER_OFFLINE),
    "they say nothing by any way": (dead(), Cause.PEER_OFFLINE),
    "their relay is not reached": (
        without_new_york(
            dead({"home": NEW_YORK, "relays": (RelayTold(NEW_YORK, connected=True), RelayTold(FRANKFURT, latency=0.1))})
        ),
        Cause.RELAY_BLOCKED,
    ),
    "no relay is common": (
        without_new_york(
            dead(
                {"home": NEW_YORK, "relays": (RelayTold(NEW_YORK, connected=True), RelayTold(FRANKFURT, problem="no"))}
            )
        ),
        Cause.NO_COMMON_RELAY,
    ),
    "their clock is wrong": (
        dead({"relays": (RelayTold(FRANKFURT, problem="TLS: invalid peer certificate: NotValidYet"),)}),
        Cause.CLOCK_WRONG,
    ),
    "they reach no relay": (dead({"relays": (RelayTold(FRANKFURT, problem="timed out"),)}), Cause.PEER_RELAY_BLOCKED),
    "direct was wished for, and there is none": (dead(policy="direct"), Cause.PATH_POLICY_DIRECT),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_cause_comes_first(case):
    pair, cause = CASES[case]
    verdict, found = pair_cause(pair)
    assert found is cause, [(f.cause, f.confidence) for f in of_pair(pair).findings]
    assert verdict != "healthy"


@pytest.mark.parametrize("pair", [DEAD, dead({}), dead({"home": NEW_YORK})], ids=["told", "nothing wrong", "far"])
def test_a_pair_that_does_not_meet_is_broken(pair):
    assert of_pair(pair).verdict == "broken"


def test_a_direct_pair_is_healthy():
    assert members(of_pair(PAIR)) == {"verdict": "healthy", "causes": [], "path": "direct", "searching": False}


@pytest.mark.parametrize("theirs", [HARD, {"firewall": CLOSED}, {"udp": False}, {"others_direct": 3}], ids=str)
def test_a_direct_pair_is_healthy_whatever_stands_before_the_other_end(theirs):
    assert of_pair(replace(PAIR, theirs=end(THEIRS, **theirs))).verdict == "healthy"


def test_a_direct_pair_of_a_machine_with_a_fault_is_not_healthy():
    assert pair_cause(replace(PAIR, host=no_udp(HOST)))[0] == "degraded"


def test_a_note_does_not_make_a_direct_pair_less_than_healthy():
    host = replace(HOST, port80=Port80.SILENT)
    assert pair_cause(replace(PAIR, host=host)) == ("healthy", Cause.PORT80_BLOCKED)


def test_a_relayed_pair_is_degraded_while_its_search_goes_on_and_the_nat_is_blamed_less():
    late, soon = relayed(HARD | {"guessing": False}), relayed(HARD | {"guessing": False, "searching": 3.0})
    assert of_pair(soon).searching
    assert of_pair(soon).verdict == "degraded"
    assert of_pair(soon).findings[0].confidence < of_pair(late).findings[0].confidence


def test_a_relayed_pair_whose_search_has_just_begun_is_not_called_healthy():
    said = of_pair(relayed({"searching": 1.0, "ways": ()}))
    assert (said.verdict, said.searching) == ("degraded", True)


def test_a_relayed_pair_about_which_nothing_is_known_is_not_healthy():
    assert pair_cause(replace(BY_RELAY, theirs=None, source=Source.MAP))[0] == "degraded"


def test_a_mapped_port_makes_a_hard_nat_no_excuse():
    mapped = PortMapTold(router="192.168.1.1", external="198.51.100.7:41641")
    assert Cause.HARD_NAT_BOTH not in {f.cause for f in of_pair(relayed(HARD | {"port_map": mapped}, HARD)).findings}


def test_the_fix_of_two_hard_nats_is_a_command_on_one_of_the_two_machines():
    fix = of_pair(relayed(HARD, HARD | {"firewall": CLOSED})).findings[0].fix
    assert fix is not None
    assert (fix.where, fix.command) == ("bob", "sudo ufw allow 41641/udp")


def test_a_peer_that_is_not_in_the_map_may_be_hidden_by_the_policy():
    said = members(of_stranger(HOST, "carol"))
    assert said["verdict"] == "broken"
    assert [cause["cause"] for cause in said["causes"]] == ["peer-unknown"]


def test_a_cause_is_told_once_with_the_evidence_of_both_looks():
    told = {"home": NEW_YORK, "relays": (RelayTold(NEW_YORK, connected=True),)}
    pair = without_new_york(dead(told, relays=MISSED))
    blocked = [f for f in of_pair(pair).findings if f.cause is Cause.RELAY_BLOCKED]
    assert len(blocked) == 1
    assert blocked[0].about == "region nyc (node 2a)"


GAVE_UP = Step("gave up the way", "192.0.2.1:1", since=700.0, ago=70.0, why="loses large packets")
TOOK = Step("took the direct way", "192.0.2.1:1", since=60.0, ago=60.0)


@pytest.mark.parametrize("why", ["loses large packets", "carries no data"])
@pytest.mark.parametrize(
    ("story", "told"),
    [
        ((GAVE_UP,), True),
        ((TOOK, GAVE_UP), True),
        ((GAVE_UP, TOOK), False),
        ((GAVE_UP, structs.replace(TOOK, ago=3.0)), True),
        ((structs.replace(GAVE_UP, ago=86400.0),), False),
    ],
    ids=["just now", "after a good time", "and taken again", "and tried again just now", "yesterday"],
)
def test_only_a_story_of_now_is_a_fault_of_now(story: tuple[Step, ...], why: str, *, told: bool) -> None:
    retold = tuple(structs.replace(step, why=why) if step.why else step for step in story)
    causes = {finding.cause for finding in of_pair(relayed({"story": retold})).findings}
    assert bool(causes & {Cause.MTU_HOLE, Cause.WIREGUARD_FILTERED}) is told


def test_a_relay_that_nobody_dialled_yet_is_not_called_blocked_where_it_answers() -> None:
    """Daemons are connected to the relays that they use, and no others."""
    pair = dead({"home": NEW_YORK, "relays": (RelayTold(NEW_YORK, connected=True),)}, relays=(RelayTold(NEW_YORK),))
    assert Cause.RELAY_BLOCKED not in {finding.cause for finding in of_pair(pair).findings}


def test_a_way_that_the_daemon_calls_direct_and_that_carries_no_ping_is_none() -> None:
    pair = replace(PAIR, ping=PingSeen(problem="timed out"), source=Source.SERVER)
    assert of_pair(pair).path == "none"
    assert of_pair(replace(pair, source=Source.TUNNEL)).path == "direct"


UNSHAKEN = replace(PAIR, source=Source.SERVER, silence="it does not answer through the tunnel")


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        (UNSHAKEN, True),
        (replace(UNSHAKEN, own=end(PAIR.own, handshake=200.0)), True),
        (replace(UNSHAKEN, own=end(PAIR.own, handshake=5.0)), False),
        (replace(UNSHAKEN, source=Source.TUNNEL, silence=""), False),
        (replace(UNSHAKEN, peer=replace(PAIR.peer, ours=False)), False),
    ],
    ids=["never", "long ago", "just now", "it answers", "the official client is not asked"],
)
def test_pings_alone_prove_no_tunnel(pair: Pair, *, told: bool) -> None:
    said = of_pair(pair)
    assert (said.verdict == "healthy") is not told
    assert (Cause.WIREGUARD_FILTERED in {finding.cause for finding in said.findings}) is told


@pytest.mark.parametrize(
    ("version", "ours", "told"),
    [("0.0.9-ginnel", True, True), ("0.1.0-ginnel", True, False), ("0.2.0-ginnel", True, False),
     ("1.98.9", False, False), ("?", True, False), ("", True, False)],
)  # fmt: skip
def test_an_older_version_there_is_a_note(version: str, *, ours: bool, told: bool) -> None:
    said = of_pair(replace(PAIR, peer=replace(PAIR.peer, version=version, ours=ours)))
    assert (said.verdict, Cause.PEER_OLD_VERSION in {f.cause for f in said.findings}) == ("healthy", told)


@pytest.mark.parametrize(("held", "told"), [(3.0, True), (60.0, False)])
def test_a_direct_way_that_lost_data_a_moment_ago_is_not_well_yet(held: float, *, told: bool) -> None:
    gave_up = structs.replace(GAVE_UP, why="carries no data")
    known = end(PAIR.own, story=(gave_up, structs.replace(TOOK, ago=held)))
    said = of_pair(replace(PAIR, own=known))
    assert (said.path, said.verdict == "healthy") == ("direct", not told)


def test_another_address_that_is_left_alone_is_no_fault_of_a_way_that_holds() -> None:
    other = WayTold("192.0.2.9:9", asked=9, shunned="carries no data")
    assert of_pair(replace(PAIR, own=end(PAIR.own, ways=(other,)))).verdict == "healthy"
