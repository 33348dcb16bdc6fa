"""What a peer says is a stranger's word: any testimony that can be read at all ends in a diagnosis and in words."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import msgspec
from hypothesis import given

from ginnel.core.doctor.diagnosis import members, of_host, of_pair
from ginnel.core.doctor.evidence import PingSeen, Source
from ginnel.core.doctor.text import lines, story
from ginnel.wire.doctor import FirewallTold, PortMapTold, RelayTold, Step, Testimony, WayTold
from tests.core.doctor.world import HOST, NETWORK, PAIR, RELAYED

ODD = st.sampled_from(
    ["", "?", "garbage", ":", "]:7", "[::1]:9", "192.0.2.1:41641", "192.0.2.1", "100.64.0.1", "fe80::1%eth0", "random",
     "sequential", "easy", "relay", "direct", "loses large packets", "carries no data", "ufw", "\x1b[31m", "a;reboot"]
)  # fmt: skip
MAYBE = st.sampled_from([None, True, False])
COUNT, SECONDS = st.integers(0, 3), st.none() | st.floats(0, 1e9)
MANY = st.lists(ODD, max_size=3).map(tuple)


def bag(strategy: st.SearchStrategy) -> st.SearchStrategy:  # type: ignore[type-arg]
    return st.lists(strategy, max_size=3).map(tuple)


TESTIMONIES = st.builds(
    Testimony,
    program=ODD, name=ODD, udp=MAYBE, ipv4=st.booleans(), ipv6=st.booleans(), varies=MAYBE, seen_v4=ODD, seen_v6=ODD,
    port=st.sampled_from([0, 1, 41641]), local=MANY, told=MANY, portal=MAYBE, control=MAYBE, hops=MANY,
    guessing=st.booleans(), nat=ODD, peer_nat=ODD, search_ended=ODD, home=COUNT, policy=ODD, direct=ODD,
    relays=bag(st.builds(RelayTold, region=COUNT, connected=st.booleans(), latency=SECONDS, problem=ODD)),
    port_map=st.none() | st.builds(PortMapTold, router=ODD, external=ODD, double_nat=st.booleans()),
    firewall=st.none() | st.builds(FirewallTold, backend=ODD, closed=MAYBE, rule=ODD, opens=ODD),
    others_direct=COUNT, searching=SECONDS, lets_in=MAYBE, handshake=SECONDS, heard=SECONDS,
    ways=bag(st.builds(WayTold, endpoint=ODD, asked=COUNT, answered=COUNT, heard=COUNT, shunned=ODD)),
    story=bag(st.builds(Step, what=ODD, endpoint=ODD, why=ODD, ago=st.floats(0, 1e9))),
)  # fmt: skip
PINGS = st.sampled_from([PingSeen(), PingSeen(True, "", "fra"), PingSeen(True, "192.0.2.1:9"), PingSeen(problem="x")])


@given(own=TESTIMONIES, theirs=st.none() | TESTIMONIES, ping=PINGS, source=st.sampled_from(Source), ours=st.booleans())
def test_any_testimony_ends_in_a_diagnosis(own, theirs, ping, source, ours):
    peer = replace(PAIR.peer, ours=ours, system="windows")
    pair = replace(PAIR, own=own, theirs=theirs, ping=ping, source=source, peer=peer)
    said = of_pair(pair)
    assert said.verdict in ("healthy", "degraded", "broken", "unknown")
    assert msgspec.json.encode(members(said))
    assert lines(said, pair)
    assert not theirs or isinstance(story("bob", theirs), list)


@given(witnesses=bag(TESTIMONIES), network=TESTIMONIES)
def test_any_witness_and_any_word_of_our_own_daemon_end_in_a_diagnosis(witnesses, network):
    said = of_host(replace(HOST, witnesses=witnesses, network=network))
    assert lines(said)


@given(theirs=TESTIMONIES)
def test_no_command_holds_a_strangers_text(theirs):
    hostile = msgspec.structs.replace(theirs, firewall=FirewallTold("ufw;reboot", closed=True, opens="reboot"))
    pair = replace(PAIR, own=RELAYED, theirs=hostile, ping=PingSeen(True, "", "fra"))
    for finding in of_pair(pair).findings:
        assert finding.fix is None or "reboot" not in finding.fix.command
    assert NETWORK.firewall is not None
