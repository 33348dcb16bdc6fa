"""The policy's own tests: what they catch before and after nodes join."""

import json
import time
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from ginnel.core.control.policy import NO_POLICY, PolicyNode, parse_policy, run_tests
from ginnel.words import NodeId

HEAD = {
    "groups": {"group:eng": ["alice@", "bob@"], "group:none": []},
    "hosts": {"web": "100.64.0.7", "printer": "10.1.0.9"},
    "tagOwners": {"tag:prod": [], "tag:dev": []},
}


def node(number, user="", tags=(), routes=()):
    addresses = (IPv4Address("100.64.0.0") + number, IPv6Address("fd7a:115c:a1e0::") + number)
    return PolicyNode(NodeId(number), user, frozenset(tags), addresses, tuple(map(ip_network, routes)))


def accept(src, dst, **more):
    return {"action": "accept", "src": src, "dst": dst, **more}


def failures(acls, test, nodes=()):
    text = json.dumps(HEAD)[:-1] + f',\n"acls": {json.dumps(acls)},\n"tests": [{json.dumps(test)}]}}'
    return [str(failure) for failure in run_tests(parse_policy(text), nodes)]


HOLDS = [
    ([accept(["alice@"], ["tag:prod:22"])], {"src": "alice@", "accept": ["tag:prod:22"], "deny": ["tag:prod:23"]}),
    ([accept(["group:eng"], ["web:443"])], {"src": "bob@", "accept": ["web:443"]}),
    ([accept(["group:eng"], ["web:443"])], {"src": "group:eng", "accept": ["web:443"]}),
    ([accept(["alice@"], ["web:443"])], {"src": "carol@", "deny": ["web:443"]}),
    ([accept(["*"], ["10.1.0.0/16:631"])], {"src": "tag:dev", "accept": ["printer:631"], "deny": ["10.2.0.9:631"]}),
    ([accept(["10.1.0.9"], ["tag:dev:22"])], {"src": "printer", "accept": ["tag:dev:22"], "deny": ["tag:prod:22"]}),
    ([accept(["tag:dev"], ["*:*"], proto="icmp")], {"src": "tag:dev", "proto": "icmp", "accept": ["web:*"]}),
    ([accept(["tag:dev"], ["*:*"], proto="icmp")], {"src": "tag:dev", "deny": ["web:22"]}),
    ([accept(["tag:dev"], ["*:53"], proto="udp")], {"src": "tag:dev", "accept": ["web:53"]}),
    ([accept(["tag:dev"], ["*:53"], proto="udp")], {"src": "tag:dev", "proto": "tcp", "deny": ["web:53"]}),
    ([accept(["autogroup:member"], ["autogroup:internet:*"])], {"src": "alice@", "accept": ["autogroup:internet:443"]}),
    ([accept(["autogroup:member"], ["autogroup:internet:*"])], {"src": "tag:dev", "deny": ["autogroup:internet:443"]}),
    ([accept(["autogroup:member"], ["autogroup:tagged:1"])], {"src": "autogroup:member", "accept": ["tag:dev:1"]}),
    ([accept(["autogroup:member"], ["autogroup:self:*"])], {"src": "bob@", "accept": ["bob@:1"], "deny": ["ali@:1"]}),
    ([accept(["autogroup:member"], ["autogroup:self:*"])], {"src": "autogroup:member", "deny": ["tag:dev:1"]}),
    ([accept(["group:none"], ["*:*"])], {"src": "autogroup:member", "deny": ["web:22"]}),
]  # fmt: skip
NODES = [
    node(1, "alice"), node(2, "alice"), node(3, "bob"), node(7, "carol"), node(8, "alice", ["tag:prod"]),
    node(9, "bob", ["tag:dev"], ["10.1.0.0/16"]), node(10, "carol", ["tag:dev"], ["0.0.0.0/0", "::/0"]),
]  # fmt: skip


@pytest.mark.parametrize("nodes", [[], NODES], ids=["nobody joined", "nodes joined"])
@pytest.mark.parametrize(("acls", "test"), HOLDS)
def test_tests_that_hold_say_nothing(acls, test, nodes):
    assert failures(acls, test, nodes) == []


@pytest.mark.parametrize("nodes", [[], NODES], ids=["nobody joined", "nodes joined"])
@pytest.mark.parametrize(("acls", "test"), HOLDS)
def test_the_opposite_of_a_test_that_holds_fails_with_its_line(acls, test, nodes):
    opposite = {name: value for name, value in test.items() if name not in ("accept", "deny")}
    opposite |= {"deny": test["accept"]} if "accept" in test else {"accept": test["deny"]}
    found = failures(acls, opposite, nodes)
    wish = "can reach" if "deny" in opposite else "cannot reach"
    assert found and all(text.startswith("policy line 3: test failed: ") and wish in text for text in found)


def test_one_member_of_a_group_that_cannot_is_enough():
    assert failures([accept(["alice@"], ["web:443"])], {"src": "group:eng", "accept": ["web:443"]}) == [
        'policy line 3: test failed: group:eng cannot reach web:443, which "accept" asks for'
    ]


def test_one_member_of_a_group_that_can_is_enough_to_break_a_denial():
    assert failures([accept(["alice@"], ["web:443"])], {"src": "group:eng", "deny": ["web:443"]}) == [
        'policy line 3: test failed: group:eng can reach web:443, which "deny" forbids'
    ]


def test_a_group_without_members_accepts_nothing():
    [text] = failures([accept(["*"], ["*:*"])], {"src": "group:none", "accept": ["web:443"]})
    assert "the group has no members" in text


def test_self_reaches_no_other_users_nodes_among_real_ones():
    acls = [accept(["autogroup:member"], ["autogroup:self:*"])]
    assert failures(acls, {"src": "autogroup:member", "accept": ["autogroup:member:22"]}, NODES) != []
    assert failures(acls, {"src": "autogroup:member", "deny": ["autogroup:member:22"]}, NODES) != []


def test_a_denial_sees_what_an_address_in_a_rule_opens_to_a_real_node():
    acls = [accept(["100.64.0.2"], ["tag:prod:22"])]
    assert failures(acls, {"src": "alice@", "deny": ["tag:prod:22"]}) == []
    assert failures(acls, {"src": "alice@", "deny": ["tag:prod:22"]}, NODES) != []


def test_a_thousand_nodes_on_both_sides_are_not_tried_pair_by_pair():
    nodes = [node(i, f"u{i % 500}") for i in range(1, 1001)]
    acls = [accept(["autogroup:member"], ["autogroup:self:*", "autogroup:member:22"])]
    began = time.process_time()
    assert failures(acls, {"src": "autogroup:member", "accept": ["autogroup:member:22"]}, nodes) == []
    assert time.process_time() - began < 1.0


def test_no_policy_has_no_tests():
    assert run_tests(NO_POLICY, NODES) == []


def test_a_user_who_is_not_among_the_few_tried_is_still_tried_on_their_own_devices():
    nodes = [node(number, user) for number, user in enumerate(["alice", "bob", "carol", "carol"], 1)]
    acls = [accept(["autogroup:member"], ["autogroup:self:*"])]
    assert failures(acls, {"src": "autogroup:member", "deny": ["carol@:22"]}, nodes) != []
