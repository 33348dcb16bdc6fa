"""nft's JSON: what rules take for granted, limits in sets, tables that sleep, chains of one device."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ginnel.core.firewall.lint import nft_json
from ginnel.core.firewall.lint.judge import Answer, arrival
from tests.core.firewall.lint.rules import TUNNEL_IN, answer, finding, nft

SADDR = {"payload": {"protocol": "ip", "field": "saddr"}}
SADDR6 = {"payload": {"protocol": "ip6", "field": "saddr"}}
LIMIT = {"limit": {"rate": 10, "burst": 5, "per": "second", "inv": True}}
ACCEPT, DROP = {"accept": None}, {"drop": None}
MARK, CT_MARK = {"meta": {"key": "mark"}}, {"ct": {"key": "mark"}}


@pytest.mark.parametrize(
    "flood",
    [
        {"set": {"op": "add", "elem": SADDR, "set": "@flood", "stmt": [LIMIT]}},
        {"set": {"op": "update", "elem": {"elem": {"val": SADDR, "timeout": 60}}, "set": "@flood", "stmt": [LIMIT]}},
        {"meter": {"key": SADDR, "stmt": LIMIT, "size": 65535, "name": "m"}},
    ],
)
def test_flood_protection_depends_on_how_many_there_are(flood: dict[str, Any]) -> None:
    got = finding(nft_json.parse(nft([flood, DROP], policy="accept")), TUNNEL_IN)
    assert got.answer is Answer.DEPENDS
    assert got.quotes[0].text.endswith("{ ip saddr limit rate over 10/second } drop")


def test_a_set_that_only_remembers_decides_nothing() -> None:
    seen = {"set": {"op": "update", "elem": SADDR, "set": "@seen"}}
    assert answer(nft_json.parse(nft([seen, DROP], policy="accept")), TUNNEL_IN) is Answer.BLOCKED


@pytest.mark.parametrize(
    "statement",
    [
        {"set": {"op": "update", "elem": SADDR, "set": "@seen"}},
        {"mangle": {"key": {"payload": {"protocol": "ip", "field": "dscp"}}, "value": "cs1"}},
        {"meter": {"key": {"concat": [SADDR, SADDR]}, "stmt": {"counter": None}, "size": 9, "name": "m"}},
    ],
)
def test_a_statement_about_ipv4_ends_the_rule_for_ipv6(statement: dict[str, Any]) -> None:
    rules = nft_json.parse(nft([statement, DROP], policy="accept"))
    assert answer(rules, TUNNEL_IN) is Answer.BLOCKED
    assert answer(rules, TUNNEL_IN, 6) is Answer.PASSES


def test_a_statement_about_tcp_ends_the_rule_for_udp() -> None:
    clamp = {"mangle": {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": 1200}}
    assert answer(nft_json.parse(nft([clamp, DROP], policy="accept")), TUNNEL_IN) is Answer.PASSES


def test_a_map_may_lack_the_key_and_end_the_rule() -> None:
    port = {"payload": {"protocol": "udp", "field": "dport"}}
    looked_up = {"mangle": {"key": MARK, "value": {"map": {"key": port, "data": {"set": [[22, 1]]}}}}}
    assert answer(nft_json.parse(nft([looked_up, DROP], policy="accept")), TUNNEL_IN) is Answer.UNKNOWN


def test_a_mark_that_is_made_of_another_is_not_known() -> None:
    taken = {"mangle": {"key": MARK, "value": {"|": [CT_MARK, 4]}}}
    asked = {"match": {"op": "==", "left": MARK, "right": 4}}
    established = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "established"}}
    rules = nft([established, taken], [established, asked, ACCEPT], [established, DROP], policy="accept")
    assert answer(nft_json.parse(rules), TUNNEL_IN) is Answer.UNKNOWN


def test_a_set_whose_elements_have_a_limit_is_not_understood() -> None:
    told = json.loads(nft([{"match": {"op": "==", "left": SADDR, "right": "@tagged"}}, DROP], policy="accept"))
    limited = {
        "family": "inet",
        "name": "tagged",
        "table": "t",
        "type": "ipv4_addr",
        "elem": ["8.8.8.8"],
        "stmt": [LIMIT],
    }
    told["nftables"].append({"set": limited})
    assert answer(nft_json.parse(json.dumps(told)), TUNNEL_IN) is Answer.UNKNOWN


@pytest.mark.parametrize("flags", ["dormant", "other", ["dormant"], ["owner", "dormant"]])
def test_a_dormant_table_is_not_in_force(flags: Any) -> None:
    told = json.loads(nft([DROP]))
    told["nftables"].insert(0, {"table": {"family": "inet", "name": "t", "handle": 1, "flags": flags}})
    rules = nft_json.parse(json.dumps(told))
    assert answer(rules, TUNNEL_IN) is Answer.PASSES
    assert rules.notes == ["table inet t is dormant: its rules are not in force"]


def test_a_table_with_an_owner_is_in_force() -> None:
    told = json.loads(nft([DROP]))
    told["nftables"].insert(0, {"table": {"family": "inet", "name": "t", "handle": 1, "flags": "owner"}})
    assert answer(nft_json.parse(json.dumps(told)), TUNNEL_IN) is Answer.BLOCKED


def test_a_chain_of_a_device_that_is_not_told_depends() -> None:
    """nft 1.0.6 leaves the device out of its JSON."""
    got = finding(nft_json.parse(nft([DROP], hook="ingress", policy="accept")), TUNNEL_IN)
    assert got.answer is Answer.DEPENDS
    assert got.quotes[0].packets == "where the device is the one of table inet t, chain c"


def test_routing_headers_are_in_no_packet_of_the_mesh() -> None:
    rt = {"match": {"op": "==", "left": {"exthdr": {"name": "rt", "field": "type"}}, "right": 0}}
    assert answer(nft_json.parse(nft([rt, DROP], policy="accept")), TUNNEL_IN, 6) is Answer.PASSES


@pytest.mark.parametrize(("priority", "wanted"), [(-300, Answer.BLOCKED), (0, Answer.PASSES)])
def test_notrack_counts_before_connections_are_looked_up_and_not_behind(priority: int, wanted: Answer) -> None:
    new = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}}
    told = json.loads(nft([new, ACCEPT]))
    early = {"family": "inet", "table": "t", "name": "early"}
    hook = "prerouting" if priority < 0 else "input"
    base = {"type": "filter", "hook": hook, "prio": priority - 1, "policy": "accept"}
    told["nftables"].insert(0, {"chain": {**early, **base}})
    told["nftables"].append({"rule": {"family": "inet", "table": "t", "chain": "early", "expr": [{"notrack": None}]}})
    first = arrival(nft_json.parse(json.dumps(told)), TUNNEL_IN, 4)
    assert first.answer is wanted


@pytest.mark.parametrize(
    ("kind", "blocked"),
    [("icmp", (True, False)), ("icmpv6", (False, True)), ("tcp reset", (False, False)), ("icmpx", (True, True))],
)
def test_a_way_to_reject_is_for_packets_that_can_be_rejected_so(kind: str, blocked: tuple[bool, bool]) -> None:
    """nft 1.0.6 lists `meta nfproto ipv6 reject` without the match."""
    rules = nft_json.parse(nft([{"reject": {"type": kind, "expr": "port-unreachable"}}], policy="accept"))
    found = tuple(answer(rules, TUNNEL_IN, family) is Answer.BLOCKED for family in (4, 6))
    assert found == blocked
