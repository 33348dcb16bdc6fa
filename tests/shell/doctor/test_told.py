"""The daemon's answers as evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ginnel.core.doctor.evidence import PingSeen, Source
from ginnel.shell.doctor import told
from ginnel.shell.doctor.told import known_by_daemon, known_without_daemon, pair_of
from ginnel.shell.node.state import Prefs, StateFile
from ginnel.wire.doctor import Testimony, WayTold
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import Node, encode
from ginnel.words import NodeKey
from tests.core.doctor.world import HOST, NETWORK, RELAYED, THEIRS
from tests.shell.doctor.test_visit import ANSWERS, BOB, DAEMON

RELAYS = {
    "Regions": {
        "1": {"RegionID": 1, "RegionCode": "fra", "RegionName": "Frankfurt", "Nodes": [
            {"Name": "1a", "RegionID": 1, "HostName": "relay.example", "IPv4": "192.0.2.1"}]},
        "2": {"RegionID": 2, "RegionCode": "nyc", "RegionName": "New York", "Nodes": [
            {"Name": "2a", "RegionID": 2, "HostName": "other.example", "IPv4": "192.0.2.2"}]},
    }
}  # fmt: skip
PEERS = {
    "1": BOB | {"Relay": "fra"},
    "2": {"DNSName": "carol.mesh.", "TailscaleIPs": ["100.64.0.3"], "Online": False, "Relay": "fra"},
    "3": {"DNSName": "dave.mesh.", "TailscaleIPs": ["100.64.0.4"], "Online": True, "Relay": "nyc"},
    "4": {"DNSName": "eve.mesh.", "TailscaleIPs": [], "Online": True, "Relay": "moon"},
}


def answers(**instead: Any) -> dict[str, Any]:
    return {**ANSWERS, "derpmap": RELAYS, "status": {**ANSWERS["status"], "Peer": PEERS}, **instead}


def daemon(given: dict[str, Any]) -> Any:
    return lambda name: given[name.partition("?")[0]]


def test_the_machine_its_peers_and_their_homes_are_those_of_the_map() -> None:
    known = known_by_daemon(daemon(answers()))
    assert (known.name, known.own, known.tun) == ("alice", ("100.64.0.1",), "ginnel0")
    assert known.peers == ("100.64.0.2", "100.64.0.3", "100.64.0.4")
    assert known.online == ("100.64.0.2", "100.64.0.4")
    assert known.peers_of == ((1, ("bob",)), (2, ("dave",))), "who is offline misses nothing"
    assert list(known.asked.derp_map.regions or {}) == [1, 2]


def test_the_time_by_the_map_is_a_source_and_none_where_no_map_told() -> None:
    given = DAEMON | {"ControlURL": "https://vpn.example", "ClockAhead": -86400.0}
    known = known_by_daemon(daemon(answers(doctor=ANSWERS["doctor"] | {"Daemon": given})))
    assert known.clock is not None
    assert (known.clock.source, known.clock.ahead) == ("https://vpn.example", -86400.0)
    silent = answers(doctor=ANSWERS["doctor"] | {"Daemon": DAEMON | {"ClockAhead": None}})
    assert known_by_daemon(daemon(silent)).clock is None


def test_a_daemon_without_a_map_leaves_the_server_to_be_tried() -> None:
    given = DAEMON | {"ControlURL": "https://vpn.example", "State": "NeedsLogin"}
    without = answers(
        derpmap=None,
        doctor=ANSWERS["doctor"] | {"Daemon": given},
        prefs={"ControlURL": "https://vpn.example", "ServerPin": "ab" * 32},
    )
    known = known_by_daemon(daemon(without))
    assert [server.url for server in known.asked.servers] == ["https://vpn.example"]
    assert known.daemon is not None
    assert known.daemon.state == "NeedsLogin"


def test_what_is_no_testimony_is_an_error_and_none_is_none() -> None:
    assert told.testimony_in(None) is None
    assert told.testimony_in({"Port": 1}) == Testimony(port=1)
    with pytest.raises(WireError):
        told.testimony_in({"Port": 70000})


BOB_NODE = Node(
    id=2, stable_id="n2", name="bob.mesh.", user=1, key=NodeKey(bytes(32)), addresses=["100.64.0.2/32"], online=True,
    home_derp=2, endpoints=["203.0.113.7:41641"], hostinfo={"OS": "windows", "IPNVersion": "1.98.9"},
)  # fmt: skip


def as_json(known: Testimony) -> Any:
    import json

    return json.loads(encode(known))


@pytest.mark.parametrize(
    ("theirs", "by", "source"),
    [(THEIRS, "tunnel", Source.TUNNEL), (THEIRS, "server", Source.SERVER), (None, "", Source.MAP)],
)
def test_who_speaks_for_the_peer(theirs: Testimony | None, by: str, source: Source) -> None:
    answer = {"Own": as_json(RELAYED), "Theirs": as_json(theirs) if theirs else None, "By": by, "Silence": "asleep"}
    pair = pair_of(HOST, BOB_NODE, answer, PingSeen(True, "", "fra"))
    assert (pair.source, pair.own, pair.silence) == (source, RELAYED, "asleep")
    assert pair.theirs is not None
    assert pair.theirs.seen_v4 == "203.0.113.7:41641", "its own word, or the map's endpoint"
    assert pair.host.witnesses == ((theirs,) if theirs else ())
    assert (pair.peer.name, pair.peer.home, pair.peer.ours, pair.peer.system) == ("bob", 2, False, "windows")


def test_where_the_daemon_says_nothing_in_time_its_last_word_on_the_network_serves() -> None:
    pair = pair_of(HOST, BOB_NODE, None, PingSeen())
    assert (pair.own, pair.source) == (NETWORK, Source.MAP)
    assert not [way for way in pair.own.ways if isinstance(way, WayTold)]


async def test_without_a_daemon_and_without_a_state_nothing_is_known_but_why(tmp_path: Path) -> None:
    known = await known_without_daemon("nothing answers", tmp_path / "nowhere")
    assert (known.why_down, known.daemon, known.control_url) == ("nothing answers", None, "")


async def test_without_a_daemon_its_state_tells_the_server(tmp_path: Path) -> None:
    state = StateFile(tmp_path)
    state.write(structs.replace(state.open(), prefs=Prefs(control_url="http://127.0.0.1:9")))
    state.close()
    known = await known_without_daemon("nothing answers", tmp_path)
    assert known.control_url == "http://127.0.0.1:9"
    assert [server.url for server in known.asked.servers] == ["http://127.0.0.1:9"]
