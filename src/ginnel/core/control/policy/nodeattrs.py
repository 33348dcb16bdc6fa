"""`nodeAttrs`: which attributes the policy gives to which nodes (tailscale: tailcfg.NodeCapability, NodeAttr...).

Room: core. No sockets, clocks, files, randomness or logs come in.

Clients know more of them with each version, so one that is not known here is passed on; one that looks like a known one
misspelt would do nothing in silence, so it is refused.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

from ginnel.core.control.policy.aliases import Names
from ginnel.core.control.policy.model import Atom, Kind, NodeAttr, Policy, PolicyNode, user_name
from ginnel.core.control.policy.ports import wrong
from ginnel.core.control.policy.shape import needed, read_distinct, read_members
from ginnel.wire.hujson import Value

RANDOMIZE_CLIENT_PORT = "randomize-client-port"
HOLDERS = frozenset({Kind.USER, Kind.TAG, Kind.NET, Kind.ANY, Kind.MEMBER, Kind.TAGGED})
NAME = re.compile(r"[a-z0-9][A-Za-z0-9._:/?=,-]{0,127}")
KNOWN = frozenset({
    "debug-always-stun", "debug-disable-upnp", "disable-captive-portal-detection", "disable-delta-updates",
    "disable-hard-nat-probing", "disable-linux-cgnat-drop-rule", "disable-relay-client", "disable-relay-server",
    "disable-web-client", "dns-forwarder-disable-tcp-retries", "funnel", "https", "magicdns-aaaa", "one-cgnat?v=false",
    "one-cgnat?v=true", "only-tcp-443", "peer-mtu-enable", "probe-udp-lifetime", "randomize-client-port",
    "silent-disco", "user-dial-routes",
})  # fmt: skip
VALUED = frozenset({"default-auto-update", "tailnet-display-name", "tailnet.maxKeyDuration", "service-host"})
OF_PEERS = frozenset({"suggest-exit-node", "dns-subdomain-resolve"})


def read_node_attr(value: Value, names: Names) -> NodeAttr:
    members = read_members(value, 'an item of "nodeAttrs"', ("target", "attr"))
    target_list, attr_list = needed(members, "target", value), needed(members, "attr", value)
    found = [names.read(text, item, HOLDERS, '"target"') for text, item in read_distinct(target_list, '"target"')]
    if not found:
        raise wrong(target_list, '"target" names nobody: name a user, group, tag or "*", or take the item out')
    attributes = tuple(_read_name(text, item) for text, item in read_distinct(attr_list, '"attr"'))
    if not attributes:
        raise wrong(attr_list, '"attr" names no attribute: name one, or take the item out')
    return NodeAttr(frozenset().union(*found), attributes)


def _read_name(text: str, item: Value) -> str:
    if not NAME.fullmatch(text):
        raise wrong(item, f"{text!r} is no attribute: it has letters, digits and . _ : / ? = , - and begins with one")
    if text in VALUED:
        raise wrong(item, f"{text!r} needs a value, which a policy cannot give: take it out")
    if text in OF_PEERS:
        raise wrong(item, f"{text!r} is read by a node's peers, who are not told attributes yet: take it out")
    if text not in KNOWN and (meant := get_close_matches(text, KNOWN, n=1, cutoff=0.9)):
        raise wrong(item, f'unknown attribute {text!r}: write "{meant[0]}"')
    return text


def node_attributes(policy: Policy, node: PolicyNode) -> frozenset[str]:
    """What the policy gives to this node."""
    if not policy.node_attrs:
        return frozenset()
    own = _atoms(node)
    held = [given.attributes for given in policy.node_attrs if _is_among(node, own, given.holders)]
    return frozenset().union(*held)


def _atoms(node: PolicyNode) -> frozenset[Atom]:
    if node.tags:
        return frozenset({Atom(Kind.ANY), Atom(Kind.TAGGED), *(Atom(Kind.TAG, tag) for tag in node.tags)})
    return frozenset({Atom(Kind.ANY), Atom(Kind.MEMBER), Atom(Kind.USER, user_name(node.user))})


def _is_among(node: PolicyNode, own: frozenset[Atom], holders: frozenset[Atom]) -> bool:
    if not own.isdisjoint(holders):
        return True
    networks = [atom.net for atom in holders if atom.net is not None]
    return any(address in network for network in networks for address in node.addresses)
