import json
from ipaddress import ip_address

import pytest

from ginnel.core.firewall.lint import iptables, nft_json
from ginnel.core.firewall.lint.model import RuleSet
from ginnel.core.firewall.lint.trips import Where
from ginnel.core.firewall.own_rules import OwnRules, Stopped, own_rules

PORT, WHERE, MESH = 41641, Where("eth0"), (ip_address("100.64.0.1"), ip_address("fd7a:115c:a1e0::1"))


def nft(*rules: str, hook: str = "input", policy: str = "drop") -> RuleSet:
    """A table inet filter with one base chain; rules as lists of JSON expressions."""
    chain = {
        "family": "inet",
        "table": "filter",
        "name": hook,
        "type": "filter",
        "hook": hook,
        "prio": 0,
        "policy": policy,
    }
    listed = [{"table": {"family": "inet", "name": "filter"}}, {"chain": chain}]
    listed += [
        {"rule": {"family": "inet", "table": "filter", "chain": hook, "handle": n, "expr": json.loads(text)}}
        for n, text in enumerate(rules, 2)
    ]
    return nft_json.parse(json.dumps({"nftables": listed}))


def rule(left: dict, right: object, verdict: str, op: str = "==") -> str:
    return json.dumps([{"match": {"op": op, "left": left, "right": right}}, {verdict: None}])


DPORT = {"payload": {"protocol": "tcp", "field": "dport"}}
ANSWERS = rule({"ct": {"key": "state"}}, ["established", "related"], "accept", op="in")
LO = rule({"meta": {"key": "iifname"}}, "lo", "accept")
FROM_MESH = rule({"meta": {"key": "iifname"}}, "ginnel0", "accept")
TO_MESH = rule({"meta": {"key": "oifname"}}, "ginnel0", "accept")
SSH = rule(DPORT, 22, "accept")
NO_HTTPS = rule(DPORT, 443, "drop")


def judged(rules: RuleSet) -> OwnRules:
    return own_rules(rules, PORT, WHERE, "ginnel0", MESH)


def stopped(rules: RuleSet) -> dict[str, Stopped]:
    return {one.need: one for one in judged(rules).stopped}


def test_no_rules_stop_nothing():
    assert judged(RuleSet()) == OwnRules(closed=False)


def test_default_deny_inward_closes_the_port_and_the_way_out_of_the_tunnel():
    seen = judged(nft(LO, ANSWERS))
    assert (seen.closed, seen.backend) == (True, "nftables")
    assert seen.rule == "policy drop (table inet filter, chain input)"
    assert seen.opens.startswith("sudo nft add rule inet filter input udp dport 41641 accept")
    assert [one.need for one in seen.stopped] == ["inside-in"]
    assert seen.stopped[0].opens == "sudo nft insert rule inet filter input iifname ginnel0 accept"


@pytest.mark.parametrize("some", [FROM_MESH, SSH])
def test_what_lets_some_of_the_mesh_in_is_somebodys_choice(some):
    assert stopped(nft(LO, ANSWERS, some)) == {}


def test_answers_that_are_kept_out_stop_the_way_into_the_tunnel_too():
    assert set(stopped(nft(LO))) == {"https", "stun", "tunnel", "inside-out", "inside-in"}


def test_default_deny_outward_stops_everything():
    kept = stopped(nft(hook="output"))
    assert set(kept) == {"https", "stun", "tunnel", "inside-out", "inside-in"}
    assert kept["inside-out"].opens == "sudo nft insert rule inet filter output oifname ginnel0 accept"
    assert set(stopped(nft(TO_MESH, hook="output"))) == {"https", "stun", "tunnel"}


def test_one_port_that_may_not_leave_is_named_with_its_rule():
    kept = stopped(nft(NO_HTTPS, hook="output", policy="accept"))
    assert list(kept) == ["https"]
    assert kept["https"].rule == "tcp dport 443 drop (table inet filter, chain output)"


@pytest.mark.parametrize(
    ("chains", "backend", "opens"),
    [
        ("", "iptables", "sudo iptables -I INPUT -i ginnel0 -j ACCEPT"),
        (":ufw-before-input - [0:0]\n", "ufw", "sudo ufw allow in on ginnel0"),
    ],
)
def test_each_firewall_has_its_own_command(chains, backend, opens):
    text = (
        f"*filter\n:INPUT DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n{chains}"
        "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n"
    )
    seen = judged(iptables.parse(text, 4, "iptables"))
    assert seen.backend == backend
    assert [(one.need, one.opens) for one in seen.stopped] == [("inside-in", opens)]


def test_a_chain_with_an_odd_name_gets_no_command():
    rules = nft(LO, ANSWERS)
    [chain] = rules.chains.values()
    chain.name = "x; reboot"
    assert stopped(rules)["inside-in"].opens == ""
