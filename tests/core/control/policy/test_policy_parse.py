"""The policy language: what is refused, in which line, with which advice; what each alias becomes."""

import json
import time
from contextlib import suppress
from ipaddress import ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ginnel.core.control.policy import DENY_ALL, NO_POLICY, PolicyError, parse_policy
from ginnel.core.control.policy.model import Atom, Kind, Target

HEAD = """{
  "groups": {"group:eng": ["alice@", "bob@example.com"], "group:none": []},
  "hosts": {"web": "100.64.0.7", "office": "10.1.0.0/16", "six": "fd7a:115c:a1e0::7"},
  "tagOwners": {"tag:prod": ["group:eng"], "tag:dev": ["tag:prod"]},
"""  # the next line is the fifth


def acl(**members):
    rule = {"action": "accept", "src": ["*"], "dst": ["*:*"]} | members
    rule = {name: value for name, value in rule.items() if value is not None}
    return HEAD + '"acls": [\n' + json.dumps(rule) + "\n]}"


def grant(**members):
    rule = {"src": ["*"], "dst": ["*"], "ip": ["*"]} | members
    rule = {name: value for name, value in rule.items() if value is not None}
    return HEAD + '"grants": [\n' + json.dumps(rule) + "\n]}"


def attr(**members):
    item = {"target": ["*"], "attr": ["funnel"]} | members
    item = {name: value for name, value in item.items() if value is not None}
    return HEAD + '"nodeAttrs": [\n' + json.dumps(item) + "\n]}"


def trial(**members):
    return HEAD + '"acls": [], "tests": [\n' + json.dumps({"src": "alice@", **members}) + "\n]}"


def dst(text):
    return acl(dst=[text])


BAD = [
    ("[]", 1, "expected the policy to be an object"),
    ("", 1, "found the end of the text"),
    ('{"acls": [],\n "acls": []}', 2, "'acls' is here twice, first in line 1"),
    ('{\n"ACLs": []}', 2, 'unknown member "ACLs" in the policy: write "acls"'),
    ('{\n"rules": []}', 2, "unknown member 'rules' in the policy: it may have groups, hosts"),
    ('{\n"acls": {}}', 2, 'expected "acls" to be a list'),
    ('{\n"acls": [\n7]}', 3, "to be an object"),
    ('{\n"groups": []}', 2, 'expected "groups" to be an object'),
    *((f'{{\n\n"{name}": []}}', 3, f'"{name}" is not supported yet: take it out of the policy') for name in
      ("ssh", "sshTests", "autoApprovers", "postures", "ipsets", "derpMap")),
    # nodeAttrs
    (attr(target=None), 6, '"target" is missing here'),
    (attr(attr=None), 6, '"attr" is missing here'),
    (attr(target=[]), 6, '"target" names nobody'),
    (attr(attr=[]), 6, '"attr" names no attribute'),
    (attr(attr=["funnel", "funnel"]), 6, "'funnel' is in \"attr\" twice"),
    (attr(attr=[7]), 6, "to be a string"),
    (attr(attr=["two words"]), 6, "'two words' is no attribute"),
    (attr(attr=["x" * 200]), 6, "is no attribute"),
    (attr(attr=["disable-hard-nat-probbing"]), 6, 'write "disable-hard-nat-probing"'),
    (attr(attr=["default-auto-update"]), 6, "needs a value"),
    (attr(attr=["suggest-exit-node"]), 6, "read by a node's peers"),
    (attr(target=["autogroup:self"]), 6, "'autogroup:self' cannot stand in \"target\""),
    (attr(target=["tag:none"]), 6, "unknown 'tag:none': add it to \"tagOwners\""),
    (attr(app={}), 6, '"app" is not supported yet'),
    (attr(ipPool=[]), 6, '"ipPool" is not supported yet'),
    ('{"nodeAttrs":\n{}}', 2, 'expected "nodeAttrs" to be a list'),
    ('{"randomizeClientPort":\n"yes"}', 2, 'expected "randomizeClientPort" to be true or false'),
    # groups, hosts, tagOwners
    ('{"groups": {\n"eng": []}}', 2, "'eng' is no group's name"),
    ('{"groups": {\n"group:a b": []}}', 2, "is no group's name"),
    ('{"groups": {"group:a": [],\n "group:a": []}}', 2, "twice, first in line 1"),
    ('{"groups": {"group:a": [\n"alice@",\n"alice@"]}}', 3, "'alice@' is in group:a twice"),
    ('{"groups": {"group:a": [\n"alice"]}}', 2, "'alice' is no user: write \"alice@\""),
    ('{"groups": {"group:a": [], "group:b": [\n"group:a"]}}', 2, "groups do not nest"),
    ('{"groups": {"group:a": [\n1]}}', 2, "to be a string"),
    ('{"groups": {"group:a": [\n"a@b@c"]}}', 2, "'a@b@c' is no user"),
    ('{"hosts": {\n"10.0.0.1": "10.0.0.1"}}', 2, "is no host's name"),
    ('{"hosts": {\n"a": "10.0.0.1/8"}}', 2, "host bits set: write 10.0.0.0/8 for the prefix, 10.0.0.1 for the address"),
    ('{"hosts": {\n"a": "example.com"}}', 2, "is no user, group, tag, autogroup, host, address or prefix"),
    ('{"hosts": {\n"a": "10.0.0.0/255.0.0.0"}}', 2, "address or prefix"),
    ('{"hosts": {\n"a": "10.0.0.0/08"}}', 2, "is no prefix: write 10.0.0.0/8"),
    ('{"hosts": {\n"a": "10.0.0.0/33"}}', 2, "address or prefix"),
    ('{"hosts": {\n"a": "::ffff:10.0.0.1"}}', 2, "has another spelling: write 10.0.0.1"),
    ('{"hosts": {\n"a": "fe80::1%eth0"}}', 2, "has another spelling: write fe80::1"),
    ('{"tagOwners": {\n"prod": []}}', 2, "'prod' is no tag"),
    ('{"tagOwners": {\n"tag:1x": []}}', 2, "'tag:1x' is no tag"),
    ('{"tagOwners": {"tag:a": [\n"tag:b"]}}', 2, "unknown 'tag:b': add it to \"tagOwners\""),
    ('{"tagOwners": {"tag:a": [\n"*"]}}', 2, "'*' cannot stand in \"tagOwners\""),
    ('{"tagOwners": {"tag:a": [\n"autogroup:admin"]}}', 2, "'autogroup:admin' is not supported"),
    # acls
    (acl(action=None), 6, '"action" is missing'),
    (acl(action="drop"), 6, 'the only action is "accept"'),
    (acl(src=None), 6, '"src" is missing'),
    (acl(src=None, users=["*"]), 6, 'unknown member "users" in an item of "acls": write "src"'),
    (acl(dst=None, ports=["*:*"]), 6, 'write "dst"'),
    (acl(srcPosture=["x"]), 6, '"srcPosture" is not supported yet'),
    (acl(src=[]), 6, '"src" names nobody'),
    (acl(dst=[]), 6, '"dst" names nothing'),
    (acl(src="*"), 6, 'expected "src" to be a list'),
    (acl(src=["*", "*"]), 6, "'*' is in \"src\" twice"),
    (acl(src=["web", "100.64.0.7"]), 6, "'100.64.0.7' is in \"src\" twice, by another name"),
    (acl(dst=["web:22", "100.64.0.7/32:22"]), 6, "twice, by another name"),
    (acl(dst=["web:22", "web:22"]), 6, "'web:22' is in \"dst\" twice"),
    (acl(src=["group:ops"]), 6, "unknown 'group:ops': add it to \"groups\""),
    (acl(src=["tag:ops"]), 6, "unknown 'tag:ops': add it to \"tagOwners\""),
    (acl(src=["alice"]), 6, "unknown host 'alice': add it to \"hosts\", or write \"alice@\" for the user"),
    (acl(src=["autogroup:owner"]), 6, "'autogroup:owner' is not supported: write one of autogroup:danger-all"),
    (acl(src=["autogroup:self"]), 6, "cannot stand in \"src\": it is a destination"),
    (acl(src=["autogroup:internet"]), 6, 'cannot stand in "src"'),
    (acl(src=["10.0.0.1/8"]), 6, "host bits set"),
    (acl(src=["fd7a::1/48"]), 6, "host bits set"),
    (acl(src=["[fd7a::1]"]), 6, "brackets stand only around IPv6 addresses in destinations"),
    (acl(src=["svc:web"]), 6, "is no user, group"),
    (acl(src=["Alice Smith@"]), 6, "is no user"),
    (acl(src=[""]), 6, "is no user, group"),
    (dst("autogroup:danger-all:*"), 6, 'cannot stand in "dst"'),
    (dst("web"), 6, "'web' names no ports: write \"web:*\" for all"),
    (dst("tag:prod"), 6, "'tag:prod' names no ports: write \"tag:prod:*\""),
    (dst("web:"), 6, "'' is no port"),
    (dst("web:ssh"), 6, "'ssh' is no port: write 22, 80,443 (no spaces), 1000-2000 or *"),
    (dst("web:80, 443"), 6, "' 443' is no port"),
    (dst("web:022"), 6, "'022' is no port"),
    (dst("web:65536"), 6, "65535 at most"),
    (dst("web:20-10"), 6, "write the lower port first"),
    (dst("web:22,22"), 6, "port 22 is in '22,22' twice"),
    (dst("web:1-10,5"), 6, "port 5 is in '1-10,5' twice"),
    (dst("web:*,22"), 6, "'*' is no port"),
    (dst("fd7a::1:22"), 6, "IPv6 addresses stand in brackets"),
    (dst("fd7a::/48:22"), 6, "IPv6 addresses stand in brackets"),
    (dst("[fd7a::1]"), 6, "is no destination: write [2001:db8::1]:22"),
    (dst("[10.0.0.1]:22"), 6, "is no destination"),
    (dst("[fd7a::1/48]:22"), 6, "is no destination"),
    (dst("[fd7a::1]/48:22"), 6, "host bits set"),
    (dst("10.0.0.1/8:22"), 6, "host bits set"),
    (acl(proto="TCP"), 6, "unknown protocol 'TCP'"),
    (acl(proto=""), 6, "unknown protocol ''"),
    (acl(proto=0), 6, "unknown protocol 0"),
    (acl(proto="256"), 6, "unknown protocol 256"),
    (acl(proto=True), 6, "unknown protocol True"),
    (acl(proto="icmp", dst=["web:22"]), 6, "protocol 1 has no ports: write * instead of 22"),
    (acl(dst=["autogroup:self:*"]), 6, "its sources are users, groups, autogroup:member"),
    (acl(src=["alice@", "tag:prod"], dst=["autogroup:self:*"]), 6, "its sources are users"),
    # grants
    (grant(app={"example.com/cap/x": []}), 6, '"app" is not supported yet'),
    (grant(via=["tag:prod"]), 6, '"via" is not supported yet'),
    (grant(ip=None), 6, '"ip" is missing'),
    (grant(ip=[]), 6, '"ip" allows nothing'),
    (grant(dst=[]), 6, '"dst" names nothing'),
    (grant(dst=["web:22"]), 6, "'web:22' is no user"),
    (grant(ip=["tcp"]), 6, "'tcp' names no ports: write \"tcp:*\""),
    (grant(ip=["tcp:ssh"]), 6, "'ssh' is no port"),
    (grant(ip=["foo:1"]), 6, "unknown protocol 'foo'"),
    (grant(ip=["icmp:8"]), 6, "protocol 1 has no ports"),
    (grant(dst=["autogroup:self"]), 6, "its sources are users"),
    # tests
    (trial(), 6, "this test expects nothing"),
    (trial(accept=["web"]), 6, "names no ports"),
    (trial(accept=["web:*"]), 6, "a test needs one port"),
    (trial(accept=["web:1-2"]), 6, "a test needs one port"),
    (trial(accept=["office:22"]), 6, "'office' is the prefix 10.1.0.0/16: a test needs one address"),
    (trial(src="office", accept=["web:22"]), 6, "a test needs one address"),
    (trial(src="*", accept=["web:22"]), 6, "'*' cannot stand in \"src\" of a test"),
    (trial(deny=["autogroup:self:22"]), 6, "cannot stand in \"deny\" of a test"),
    (trial(proto="icmp", accept=["web:22"]), 6, "write * for the port"),
    (trial(allow=["web:22"]), 6, 'write "accept"'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "says"), BAD)
def test_refuses_with_the_line_and_what_to_write(text, line, says):
    with pytest.raises(PolicyError) as caught:
        parse_policy(text)
    assert says in caught.value.message
    assert caught.value.line == line
    assert str(caught.value) == f"policy line {line}: {caught.value.message}"
    assert "\n" not in str(caught.value)


def atom(kind, name="", net=None):
    return Atom(kind, name, ip_network(net) if net else None)


@pytest.mark.parametrize(
    ("alias", "atoms"),
    [
        ("*", {atom(Kind.ANY)}),
        ("alice@", {atom(Kind.USER, "alice@")}),
        ("alice@example.com", {atom(Kind.USER, "alice@example.com")}),
        ("group:eng", {atom(Kind.USER, "alice@"), atom(Kind.USER, "bob@example.com")}),
        ("group:none", set()),
        ("tag:prod", {atom(Kind.TAG, "tag:prod")}),
        ("web", {atom(Kind.NET, net="100.64.0.7/32")}),
        ("office", {atom(Kind.NET, net="10.1.0.0/16")}),
        ("10.0.0.0/8", {atom(Kind.NET, net="10.0.0.0/8")}),
        ("autogroup:member", {atom(Kind.MEMBER)}),
        ("autogroup:tagged", {atom(Kind.TAGGED)}),
    ],
)
def test_an_alias_means_the_same_as_source_and_as_destination(alias, atoms):
    rule = parse_policy(acl(src=[alias], dst=[f"{alias}:22"])).rules[0]
    assert rule.sources == atoms
    assert rule.targets == (Target(frozenset(atoms), ((22, 22),)),)
    assert rule.line == 6


@pytest.mark.parametrize(
    ("text", "net", "ports"),
    [
        ("[fd7a::1]:22", "fd7a::1/128", ((22, 22),)),
        ("[fd7a::]/48:80,443", "fd7a::/48", ((80, 80), (443, 443))),
        ("[::]/0:*", "::/0", ((0, 65535),)),
        ("10.0.0.0/8:2000-3000,1-2", "10.0.0.0/8", ((1, 2), (2000, 3000))),
        ("0.0.0.0/0:0", "0.0.0.0/0", ((0, 0),)),
    ],
)
def test_reads_destinations_with_ports(text, net, ports):
    assert parse_policy(dst(text)).rules[0].targets == (Target(frozenset({atom(Kind.NET, net=net)}), ports),)


@pytest.mark.parametrize(("proto", "number"), [("tcp", 6), ("6", 6), (6, 6), ("icmp", 1), ("fc", 133), (255, 255)])
def test_reads_protocols_by_name_and_number(proto, number):
    assert parse_policy(acl(proto=proto)).rules[0].protocols == (number,)


def test_a_grant_becomes_a_rule_for_each_protocol():
    rules = parse_policy(grant(dst=["web", "tag:prod"], ip=["tcp:22", "443", "icmp:*", "tcp:80"])).rules
    assert [rule.protocols for rule in rules] == [(6,), (), (1,)]
    assert [target.ports for target in rules[0].targets] == [((22, 22),), ((22, 22),), ((80, 80),), ((80, 80),)]


def test_without_rules_all_may_talk_and_with_an_empty_list_nobody():
    assert parse_policy("{}").rules == NO_POLICY.rules
    assert parse_policy('{"groups": {}}').rules == NO_POLICY.rules
    assert parse_policy('{"acls": []}') == DENY_ALL
    assert parse_policy('{"grants": []}') == DENY_ALL


def test_remembers_where_each_user_is_first_named():
    policy = parse_policy(HEAD + '"acls": [\n{"action": "accept", "src": ["carol@", "alice@"], "dst": ["dan@:*"]}]}')
    assert policy.users == {"alice@": 2, "bob@example.com": 2, "carol@": 6, "dan@": 6}


WORDS = st.sampled_from([
    "acls", "groups", "hosts", "tagOwners", "grants", "tests", "action", "accept", "src", "dst", "ip", "proto", "deny",
    "*", "*:*", "group:a", "tag:a", "autogroup:self", "autogroup:self:*", "a@", "a", "10.0.0.0/8", "[::1]:22", "tcp",
])  # fmt: skip
SHAPES = st.recursive(
    WORDS | st.integers() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(WORDS, SHAPES, max_size=4) | SHAPES)
def test_any_value_is_a_policy_or_a_policy_error(value):
    with suppress(PolicyError):
        parse_policy(json.dumps(value))


@example("\n", acl, "dst")
@example("\x1b[2J" * 1000, acl, "dst")
@given(
    st.text(max_size=40),
    st.sampled_from([acl, grant, trial, attr]),
    st.sampled_from(["src", "dst", "ip", "proto", "deny", "target", "attr"]),
)
def test_any_text_in_a_rule_is_a_policy_or_a_policy_error(text, section, member):
    try:
        parse_policy(section(**{member: [text] if member != "proto" else text}))
    except PolicyError as error:
        assert str(error).isprintable() and len(str(error)) < 450


def test_five_hundred_rules_are_read_in_milliseconds():
    rules = [{"action": "accept", "src": [f"u{i}@"], "dst": [f"10.0.{i % 256}.0/24:22,80-90"]} for i in range(500)]
    text = json.dumps({"acls": rules}, indent=1)

    def cost():
        began = time.process_time()
        assert len(parse_policy(text).rules) == 500
        return time.process_time() - began

    assert min(cost() for _ in range(5)) < 0.2, "20 ms on one slow core"
