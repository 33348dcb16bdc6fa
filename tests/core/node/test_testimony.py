"""What one end says of the way to a peer: of the mesh core as it stands, and nothing of third parties."""

from __future__ import annotations

import msgspec
import pytest

from ginnel.wire import disco
from ginnel.wire.doctor import Testimony, parse_testimony
from ginnel.wire.tailcfg import FilterRule, NetPortRange
from ginnel.words import Endpoint, Instant, RegionId
from tests.core.node.test_mesh import ALICE, BOB, BOB_AT, EVE, REGION, T0, Member, alice, made_direct

EVE_AT = Endpoint.parse("198.51.100.3:41641")


def said(member: Member, now: float = T0) -> Testimony:
    told = member.mesh.testimony(BOB.key.public(), Instant(now))
    assert told is not None
    return told


def test_before_anything_happened_only_the_own_network_is_told() -> None:
    told = said(alice())
    assert (told.port, told.wanted_port, told.local) == (41641, 41641, ("10.0.0.1",))
    assert (told.direct, told.handshake, told.heard, told.searching, told.story) == ("", None, None, None, ())
    assert (told.udp, told.varies, told.policy, told.lets_in) == (None, None, "auto", True)


def test_the_direct_way_its_latency_and_who_answered_where_are_told() -> None:
    member = alice()
    made_direct(member)
    told = said(member, T0 + 1)
    assert (told.direct, told.active) == (str(BOB_AT), True)
    assert told.latency == pytest.approx(0.03)
    (way,) = [way for way in told.ways if way.endpoint == str(BOB_AT)]
    assert (way.asked, way.answered) == (2, 2)
    assert [step.what for step in told.story][-1] == "took the direct way"


def test_what_the_peer_asked_us_is_heard() -> None:
    member = alice()
    ping = BOB.seal(ALICE, disco.Ping(bytes(12), BOB.key.public()))
    member.mesh.disco_received(BOB_AT, ping, T0)
    (way,) = said(member, T0 + 1).ways
    assert (way.endpoint, way.heard) == (str(BOB_AT), 1)


def test_a_relay_that_is_up_is_connected_and_one_that_is_not_is_not() -> None:
    member = alice()
    home = [relay for relay in said(member).relays if relay.region == REGION]
    assert [relay.connected for relay in home] in ([], [False])
    member.mesh.relay_up(RegionId(1), T0)
    (relay,) = [relay for relay in said(member).relays if relay.region == REGION]
    assert relay.connected


@pytest.mark.parametrize(
    ("sources", "destinations", "lets_in"),
    [
        (["*"], ["*"], True),
        (["100.64.0.2"], ["100.64.0.1"], True),
        (["100.64.0.0/30"], ["100.64.0.1-100.64.0.9"], True),
        (["100.64.0.3"], ["*"], False),
        (["100.64.0.2"], ["100.64.0.3"], False),
    ],
)
def test_whether_the_peer_is_let_in_is_the_own_filters_word(
    sources: list[str], destinations: list[str], *, lets_in: bool
) -> None:
    member = alice()
    rule = FilterRule(src_ips=sources, dst_ports=[NetPortRange(ip) for ip in destinations])
    member.frame(packet_filters={"base": [rule]})
    assert said(member).lets_in is lets_in


def test_of_other_peers_there_is_no_more_than_their_number() -> None:
    member = alice(BOB.node(endpoints=[str(BOB_AT)]), EVE.node(endpoints=[str(EVE_AT)]))
    made_direct(member)
    told = member.mesh.testimony(EVE.key.public(), Instant(T0 + 1))
    assert told is not None
    assert told.others_direct == 1
    text = msgspec.json.encode(told)
    assert BOB_AT.ip.compressed.encode() not in text
    assert said(member, T0 + 1).others_direct == 0, "itself is no other"


def test_a_peer_that_is_not_in_the_map_gets_none() -> None:
    assert alice().mesh.testimony(EVE.key.public(), T0) is None


def test_it_can_be_read_at_the_other_end() -> None:
    member = alice()
    made_direct(member)
    told = said(member, T0 + 1)
    assert parse_testimony(msgspec.json.encode(told)) == told
