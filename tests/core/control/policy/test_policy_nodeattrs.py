"""Which nodes an item of `nodeAttrs` is about."""

from ipaddress import ip_address

import pytest

from ginnel.core.control.policy import NO_POLICY, PolicyNode, node_attributes, parse_policy
from ginnel.words import NodeId

ALICE = PolicyNode(NodeId(1), "alice", frozenset(), (ip_address("100.64.0.1"), ip_address("fd7a:115c:a1e0::1")))
SERVER = PolicyNode(NodeId(2), "", frozenset({"tag:web"}), (ip_address("100.64.0.2"), ip_address("fd7a:115c:a1e0::2")))


def given(target):
    return parse_policy(f"""{{
        "groups": {{"group:eng": ["alice@", "bob@"]}}, "hosts": {{"server": "100.64.0.2"}},
        "tagOwners": {{"tag:web": ["alice@"], "tag:db": []}},
        "nodeAttrs": [{{"target": ["{target}"], "attr": ["funnel"]}}],
    }}""")


@pytest.mark.parametrize(
    ("target", "alice", "server"),
    [
        ("*", True, True), ("alice@", True, False), ("bob@", False, False), ("group:eng", True, False),
        ("tag:web", False, True), ("tag:db", False, False), ("server", False, True), ("100.64.0.1", True, False),
        ("fd7a:115c:a1e0::/64", True, True), ("10.0.0.0/8", False, False), ("autogroup:member", True, False),
        ("autogroup:tagged", False, True),
    ],
)  # fmt: skip
def test_a_target_is_who_it_is_in_rules(target, alice, server):
    policy = given(target)
    assert (bool(node_attributes(policy, ALICE)), bool(node_attributes(policy, SERVER))) == (alice, server)


def test_items_add_up_and_what_is_not_known_is_passed_on():
    policy = parse_policy("""{"randomizeClientPort": true, "nodeAttrs": [
        {"target": ["alice@"], "attr": ["funnel", "https://example.com/cap/own"]},
        {"target": ["*"], "attr": ["funnel", "debug-disable-upnp"]},
    ]}""")
    both = {"funnel", "debug-disable-upnp", "randomize-client-port"}
    assert node_attributes(policy, ALICE) == both | {"https://example.com/cap/own"}
    assert node_attributes(policy, SERVER) == both


def test_attributes_alone_leave_all_talking_as_no_policy_does():
    assert given("*").rules == NO_POLICY.rules
    assert node_attributes(parse_policy('{"randomizeClientPort": false}'), ALICE) == frozenset()
