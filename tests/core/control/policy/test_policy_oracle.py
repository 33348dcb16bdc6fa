"""Compiled filters against a plain evaluator that reads the policy text and knows nothing of targets, bits or bands."""

import json
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from ginnel.core.control.policy import PolicyNode, compile_policy, parse_policy
from ginnel.words import NodeId

# --- a small world, so that things meet ------------------------------------------------------------------------

EXIT = (ip_network("0.0.0.0/0"), ip_network("::/0"))
USERS = ["a@", "b@", "c@example.com"]
GROUPS = {"group:one": ["a@"], "group:two": ["a@", "c@example.com"], "group:none": []}
TAGS = ["tag:x", "tag:y"]
HOSTS = {"first": "100.64.0.1", "lan": "10.1.0.0/16", "six": "fd7a:115c:a1e0::2"}
NETS = ["100.64.0.2", "100.64.0.0/30", "10.0.0.0/8", "10.1.2.0/24", "0.0.0.0/0", "9.0.0.0/8"]
NETS6 = ["fd7a:115c:a1e0::1", "fd7a:115c:a1e0::/126", "2001:db8::/32", "::/0"]
WORLD = [*USERS, *GROUPS, *TAGS, *HOSTS, *NETS, "*", "autogroup:member", "autogroup:tagged"]
PROBES = [
    ip_address(text)
    for text in (
        "10.1.2.3",
        "10.1.9.9",
        "10.9.9.9",
        "9.9.9.9",
        "192.168.1.1",
        "2001:db8:1::5",
        "2606:4700::1",
        "fd00::1",
    )
]
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "ipv6-icmp": 58, "gre": 47, "sctp": 132, "99": 99}
PORTS = ["*", "22", "80,443", "79-81", "0-1,65535"]

sources = st.lists(st.sampled_from([*WORLD, *NETS6, "autogroup:danger-all"]), min_size=1, max_size=3, unique=True)
whom = st.sampled_from([*WORLD, *(f"[{n.partition('/')[0]}]{''.join(n.partition('/')[1:])}" for n in NETS6)])
targets = st.lists(whom | st.just("autogroup:internet"), min_size=1, max_size=3, unique=True)


@st.composite
def acls(draw):
    rule = {"action": "accept", "src": draw(sources), "dst": draw(targets)}
    if draw(st.integers(0, 4)) == 0:
        rule |= {"src": draw(st.sampled_from([["a@"], ["group:two"], ["autogroup:member"]]))}
        rule["dst"].append("autogroup:self")
    proto = draw(st.sampled_from([None, None, *PROTOCOLS]))
    ports = PORTS if proto in (None, "tcp", "udp", "sctp") else ["*"]
    rule["dst"] = [f"{who}:{draw(st.sampled_from(ports))}" for who in rule["dst"]]
    return rule | ({"proto": proto} if proto else {})


policies = st.lists(acls(), max_size=5).map(
    lambda rules: {"groups": GROUPS, "hosts": HOSTS, "tagOwners": {tag: [] for tag in TAGS}, "acls": rules}
)
routes = st.sampled_from([
    (), (), (), (ip_network("10.1.2.0/24"),), (ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48")), EXIT,
    (*EXIT, ip_network("10.1.0.0/16")),
])  # fmt: skip


@st.composite
def nodes_with_id(draw, number):
    addresses = (IPv4Address("100.64.0.0") + number, IPv6Address("fd7a:115c:a1e0::") + number)
    return PolicyNode(
        NodeId(number),
        draw(st.sampled_from(["a", "b", "c@example.com", "d"])),
        draw(
            st.frozensets(st.sampled_from([*TAGS, "tag:z"]), max_size=2)
            if draw(st.booleans())
            else st.just(frozenset())
        ),
        draw(st.sampled_from([addresses, addresses, addresses[:1], addresses[1:]])),
        draw(routes),
    )


networks = st.integers(1, 6).flatmap(lambda n: st.tuples(*(nodes_with_id(i + 1) for i in range(n))))

# --- the oracle: what the policy means, word by word -----------------------------------------------------------

TAILNET = [ip_network("100.64.0.0/10"), ip_network("fd7a:115c:a1e0::/48")]
PRIVATE = [ip_network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10")]


@dataclass(frozen=True)
class Packet:
    source: object
    target: object
    protocol: int
    port: int


def subnets(node):
    return [route for route in node.routes if route not in EXIT]


def is_called(node, alias):
    if alias in GROUPS:
        return any(is_called(node, user) for user in GROUPS[alias])
    if alias.startswith("tag:"):
        return alias in node.tags
    if alias in ("autogroup:tagged", "autogroup:member"):
        return bool(node.tags) == (alias == "autogroup:tagged")
    return not node.tags and alias == (node.user if "@" in node.user else node.user + "@")


def net_of(alias):
    try:
        return ip_network(HOSTS.get(alias, alias.replace("[", "").replace("]", "")))
    except ValueError:
        return None


def from_source(alias, address, nodes):
    if alias == "autogroup:danger-all":
        return True
    if alias == "*":
        return any(address in net for net in [*TAILNET, *(r for n in nodes for r in subnets(n))])
    if (net := net_of(alias)) is not None:
        return address in net
    return any(address in node.addresses and is_called(node, alias) for node in nodes)


def to_target(alias, address, receiver, rule, source, nodes):
    if alias == "*":
        return True
    if alias == "autogroup:internet":
        public = address in ip_network("2000::/3") or (
            address.version == 4 and not any(address in net for net in PRIVATE)
        )
        return public and any(route in EXIT for route in receiver.routes)
    if alias == "autogroup:self":
        own = [n for n in nodes if not n.tags and n.user == receiver.user]
        meant = any(is_called(receiver, who) for who in rule["src"])
        return not receiver.tags and meant and address in receiver.addresses and any(source in n.addresses for n in own)
    if (net := net_of(alias)) is not None:
        touches = any(a in net for a in receiver.addresses) or any(
            r.version == net.version and r.overlaps(net) for r in subnets(receiver)
        )
        return touches and address in net
    return address in receiver.addresses and is_called(receiver, alias)


def port_fits(ports, port):
    ends = [item.partition("-") for item in ports.split(",")]
    return ports == "*" or any(int(first) <= port <= int(last or first) for first, _, last in ends)


def rules_fit(policy, nodes, receiver, source, target):
    """(protocols, ports) of each rule that joins the two addresses."""
    for rule in policy["acls"]:
        protocols = {PROTOCOLS[rule["proto"]]} if "proto" in rule else {6, 17, 1, 58}
        for item in rule["dst"]:
            who, _, ports = item.rpartition(":")
            sourced = who == "autogroup:self" or any(from_source(alias, source, nodes) for alias in rule["src"])
            if sourced and to_target(who, target, receiver, rule, source, nodes):
                yield protocols, ports


def means_yes(policy, nodes, receiver, packet):
    fitting = rules_fit(policy, nodes, receiver, packet.source, packet.target)
    if packet.protocol in (1, 58):  # any rule between two addresses lets ICMP through
        return any(True for _ in fitting)
    return any(packet.protocol in protocols and port_fits(ports, packet.port) for protocols, ports in fitting)


# --- filters as a node reads them ------------------------------------------------------------------------------


def holds(text, address):
    return text == "*" or address in ip_network(text)  # refuses host bits


def lets_in(filters, packet):
    for rule in filters:
        if not any(holds(text, packet.source) for text in rule.src_ips):
            continue
        spots = [spot.ports for spot in rule.dst_ports if holds(spot.ip, packet.target)]
        if packet.protocol in (1, 58):
            if spots:
                return True
            continue
        if packet.protocol in (rule.ip_proto or (6, 17, 1, 58)):
            with_ports = packet.protocol in (6, 17, 132)
            if any(
                (p.first <= packet.port <= p.last) if with_ports else (p.first, p.last) == (0, 65535) for p in spots
            ):
                return True
    return False


def local_addresses(node):
    routed = [p for p in PROBES if any(p.version == r.version and p in r for r in node.routes)]
    return [*node.addresses, *routed]


packets = st.tuples(
    st.integers(0, 50), st.integers(0, 50), st.sampled_from([6, 6, 17, 1, 58, 47, 132, 99]),
    st.sampled_from([0, 1, 21, 22, 80, 443, 65535]),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(policies, networks, st.lists(packets, min_size=60, max_size=60))
def test_compiled_filters_allow_what_the_policy_means_and_nothing_else(policy, nodes, choices):
    compiled = compile_policy(parse_policy(json.dumps(policy)), nodes)
    everywhere = [address for node in nodes for address in node.addresses] + PROBES
    for number, (source, target, protocol, port) in enumerate(choices):
        receiver = nodes[number % len(nodes)]
        local = local_addresses(receiver)
        packet = Packet(everywhere[source % len(everywhere)], local[target % len(local)], protocol, port)
        if packet.source.version == packet.target.version:
            allowed = lets_in(compiled.filters_for(receiver.id), packet)
            assert allowed == means_yes(policy, nodes, receiver, packet), (packet, receiver)


def reaches(policy, nodes, a, b):
    behind = [p for p in PROBES if any(p.version == r.version and p in r for r in subnets(a))]
    return any(
        source.version == target.version and any(True for _ in rules_fit(policy, nodes, b, source, target))
        for source in [*a.addresses, *behind]
        for target in local_addresses(b)
    )


@settings(max_examples=200, deadline=None)
@given(policies, networks)
def test_nodes_see_each_other_exactly_when_one_may_reach_the_other(policy, nodes):
    compiled = compile_policy(parse_policy(json.dumps(policy)), nodes)
    for a in nodes:
        expected = {b.id for b in nodes if a != b and (reaches(policy, nodes, a, b) or reaches(policy, nodes, b, a))}
        assert compiled.visible_to(a.id) == expected
        assert {b.id for b in nodes if compiled.may_see(a.id, b.id)} == expected
        assert compiled.visible_to_class(compiled.visibility_class(a.id)) - {a.id} == expected


def snapshot(compiled, ids):
    return {i: (sorted(map(repr, compiled.filters_for(i))), compiled.visible_to(i)) for i in ids}


changes = st.lists(st.integers(1, 6).flatmap(lambda i: st.none().map(lambda _: i) | nodes_with_id(i)), max_size=12)


@settings(max_examples=200, deadline=None)
@given(policies, networks, changes)
def test_nodes_that_come_and_go_leave_what_a_fresh_compilation_gives(policy, nodes, steps):
    parsed = parse_policy(json.dumps(policy))
    compiled = compile_policy(parsed, nodes)
    alive = {node.id: node for node in nodes}
    before = snapshot(compiled, alive)
    for step in steps:
        if isinstance(step, int):
            if step not in alive:
                continue
            changed = step
            del alive[step]
            touched = compiled.remove(step)
        else:
            changed = step.id
            alive[step.id] = step
            touched = compiled.put(step)
        after = snapshot(compiled, alive)
        assert after == snapshot(compile_policy(parsed, alive.values()), alive)
        seen = [state[changed][1] if changed in state else frozenset() for state in (before, after)]
        assert (touched.gained, touched.lost) == (seen[1] - seen[0], seen[0] - seen[1])
        others = [i for i in alive if i != changed]
        assert {i for i in others if before[i][0] != after[i][0]} <= touched.refiltered <= set(others)
        before = after


@settings(max_examples=100, deadline=None)
@given(policies, networks)
def test_filters_have_the_form_that_clients_read(policy, nodes):
    compiled = compile_policy(parse_policy(json.dumps(policy)), nodes)
    for node in nodes:
        filters = compiled.filters_for(node.id)
        heads = [(tuple(rule.src_ips), tuple(rule.ip_proto or ())) for rule in filters]
        assert len(set(heads)) == len(heads), "rules with one source list and protocol are merged"
        for rule in filters:
            assert rule.src_ips and rule.dst_ports and rule.cap_grant is None
            for text in [*rule.src_ips, *(spot.ip for spot in rule.dst_ports)]:
                assert text == "*" or str(ip_network(text)) in (text, f"{text}/32", f"{text}/128")
                assert not text.endswith(("/32", "/128")) or ip_network(text).num_addresses > 1
        for other in nodes:
            if compiled.filter_class(node.id) == compiled.filter_class(other.id):
                assert compiled.filters_for(other.id) is compiled.filters_for(node.id)
