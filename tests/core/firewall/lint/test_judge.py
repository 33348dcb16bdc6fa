"""What a rule set makes of the mesh's needs, and which rule is quoted for it."""

from __future__ import annotations

import pytest

from ginnel.core.firewall.lint import iptables, nft_json
from ginnel.core.firewall.lint.judge import Answer, inbound_udp
from ginnel.core.firewall.lint.trips import Where
from tests.core.firewall.lint.rules import HTTPS, TUNNEL, TUNNEL_IN, answer, finding, nft, save

OPEN = "-A INPUT -p udp -m udp --dport 41641 -j ACCEPT"
UDP_PORT = {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 41641}}
UNKNOWN = {"match": {"op": "==", "left": {"osf": {"key": "name"}}, "right": "Linux"}}
ACCEPT, DROP = {"accept": None}, {"drop": None}


def test_a_default_deny_policy_is_quoted() -> None:
    got = finding(iptables.parse(save()), TUNNEL_IN)
    assert got.answer is Answer.BLOCKED
    assert [(q.where, q.text) for q in got.quotes] == [("iptables filter, chain INPUT", "policy drop")]


def test_the_rule_that_lets_it_pass_is_quoted() -> None:
    got = finding(iptables.parse(save(OPEN)), TUNNEL_IN)
    assert got.answer is Answer.PASSES
    assert got.quotes[0].text == OPEN


def test_an_accept_behind_a_drop_does_not_help() -> None:
    assert answer(iptables.parse(save("-A INPUT -p udp -j DROP", OPEN)), TUNNEL_IN) is Answer.BLOCKED


def test_a_question_whose_answer_is_stopped_is_blocked() -> None:
    text = save(policy="DROP").replace("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n", "")
    got = finding(iptables.parse(text), HTTPS)
    assert got.answer is Answer.BLOCKED
    assert got.quotes[0].packets == "its answers"


def test_a_part_of_the_internet_depends_and_says_which() -> None:
    got = finding(iptables.parse(save("-A OUTPUT -d 8.8.0.0/16 -j DROP")), HTTPS)
    assert got.answer is Answer.DEPENDS
    assert [(q.answer, q.packets) for q in got.quotes] == [
        (Answer.BLOCKED, "to 8.8.0.0/16"),
        (Answer.PASSES, "to anything but 8.8.0.0/16"),
    ]


def test_private_addresses_are_a_note_and_not_the_answer() -> None:
    got = finding(iptables.parse(save("-A OUTPUT -d 10.0.0.0/8 -j DROP")), HTTPS)
    assert got.answer is Answer.PASSES
    assert got.notes == ("private addresses: depends: -A OUTPUT -d 10.0.0.0/8 -j DROP",)


def test_an_accept_on_one_interface_depends_on_which_it_is() -> None:
    rules = iptables.parse(save(OPEN.replace("-p", "-i eth0 -p", 1)))
    assert answer(rules, TUNNEL_IN) is Answer.DEPENDS
    assert answer(rules, TUNNEL_IN, where=Where("eth0")) is Answer.PASSES
    assert answer(rules, TUNNEL_IN, where=Where("wlan0")) is Answer.BLOCKED


def test_what_is_dropped_from_containers_alone_passes() -> None:
    assert answer(iptables.parse(save("-A INPUT -i docker0 -j DROP", OPEN)), TUNNEL_IN) is Answer.PASSES


def test_a_limit_may_drop() -> None:
    got = finding(iptables.parse(save(OPEN.replace("-j", "-m limit --limit 5/sec -j"))), TUNNEL_IN)
    assert got.answer is Answer.DEPENDS
    assert any("limit" in quote.packets for quote in got.quotes)


TWICE = "-A INPUT -p udp -m limit --limit 5/sec -j {}"
HALF = "-A INPUT -m statistic --mode random --probability 0.5 -j {}"


@pytest.mark.parametrize("rule", [TWICE, HALF, HALF.replace("statistic", "unheard-of")])
def test_the_same_limit_asked_twice_may_say_two_things(rule: str) -> None:
    """What is beyond the first may be within the second, and is dropped by it."""
    rules = iptables.parse(save(rule.format("ACCEPT"), rule.format("DROP"), policy="ACCEPT"))
    got = finding(rules, TUNNEL_IN)
    assert got.answer in (Answer.DEPENDS, Answer.UNKNOWN)
    assert any(q.text == rule.format("DROP") for q in got.quotes)


def test_a_limit_in_a_chain_that_is_met_twice_may_say_two_things() -> None:
    asked = ["-A S -p udp -m limit --limit 5/sec -j RETURN", "-A S -j MARK --set-mark 0x1"]
    marked = "-A INPUT -m mark --mark 0x1 -j {}"
    rules = save(*asked, "-A INPUT -j S", marked.format("DROP"), "-A INPUT -j S", marked.format("REJECT"),
                 policy="ACCEPT", chains=("S",))  # fmt: skip
    assert marked.format("REJECT") in [q.text for q in finding(iptables.parse(rules), TUNNEL_IN).quotes]


@pytest.mark.parametrize("verdict", [ACCEPT, DROP])
@pytest.mark.parametrize("policy", ["accept", "drop"])
def test_what_is_not_understood_never_passes(verdict: dict[str, None], policy: str) -> None:
    """Unless it comes to the same either way."""
    got = finding(nft_json.parse(nft([UDP_PORT, UNKNOWN, verdict], policy=policy)), TUNNEL_IN)
    same = {"accept": ACCEPT, "drop": DROP}[policy] == verdict
    wanted = {"accept": Answer.PASSES, "drop": Answer.BLOCKED}[policy]
    assert got.answer is (wanted if same else Answer.UNKNOWN)
    if not same:
        assert "osf" in got.quotes[0].text


@pytest.mark.parametrize("statement", [{"queue": {"num": 1}}, {"redirect": {"port": 5}}, {"new thing": {}}, {"xt": {}}])
def test_what_others_decide_is_unknown(statement: dict[str, object]) -> None:
    assert answer(nft_json.parse(nft([UDP_PORT, statement], policy="accept")), TUNNEL_IN) is Answer.UNKNOWN


def test_a_second_base_chain_must_let_it_pass_too() -> None:
    rules = nft_json.parse(nft([UDP_PORT, ACCEPT])).joined(iptables.parse(save()))
    assert answer(rules, TUNNEL_IN) is Answer.BLOCKED
    assert answer(rules, TUNNEL_IN, 6) is Answer.PASSES


def test_an_iptables_file_says_nothing_of_ipv6() -> None:
    got = finding(iptables.parse(save(OPEN)), TUNNEL_IN, 6)
    assert got.answer is Answer.UNKNOWN
    assert "IPv6" in got.notes[0]


def test_both_families_are_told_apart_in_one_file() -> None:
    both = "# Generated by iptables-save v1\n" + save(OPEN) + "# Generated by ip6tables-save v1\n" + save()
    found = {f.family: f.answer for f in inbound_udp(iptables.parse(both), 41641)}
    assert found == {4: Answer.PASSES, 6: Answer.BLOCKED}


def test_jump_goto_and_return_go_where_the_kernel_goes() -> None:
    jump = {"jump": {"target": "sub"}}
    goto = {"goto": {"target": "sub"}}
    back = [UDP_PORT, {"return": None}]
    assert answer(nft_json.parse(nft([jump], [ACCEPT], sub=back)), TUNNEL_IN) is Answer.PASSES
    assert answer(nft_json.parse(nft([goto], [ACCEPT], sub=back)), TUNNEL_IN) is Answer.BLOCKED


def test_blocking_one_port_of_the_tunnel_depends() -> None:
    got = finding(iptables.parse(save("-A OUTPUT -p udp -m udp --dport 53 -j REJECT")), TUNNEL)
    assert got.answer is Answer.DEPENDS
    assert got.quotes[0].packets == "their port 53"


def test_what_follows_a_packet_that_is_not_tracked_may_be_the_first_of_its_connection() -> None:
    raw = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp -j CT --notrack\nCOMMIT\n"
    known = "-A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT"
    open_it = OPEN.replace("-j", "-m conntrack --ctstate UNTRACKED -j")
    assert answer(iptables.parse(save(open_it, known, output="DROP")), TUNNEL_IN) is Answer.BLOCKED
    assert answer(iptables.parse(raw + save(open_it, output="ACCEPT")), TUNNEL_IN) is Answer.PASSES
    assert answer(iptables.parse(raw + save(open_it, known, output="DROP")), TUNNEL_IN) is Answer.UNKNOWN


def test_what_is_not_understood_goes_before_what_depends() -> None:
    rules = save("-A OUTPUT -d 8.8.0.0/16 -j DROP", "-A INPUT -m unheard-of --so -j DROP", policy="ACCEPT")
    rules = rules.replace("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n", "")
    assert answer(iptables.parse(rules), HTTPS) is Answer.UNKNOWN


def test_a_filter_s_policy_is_quoted_before_one_of_nat() -> None:
    nat = "*nat\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n"
    got = finding(iptables.parse(nat + save()), HTTPS)
    assert got.quotes[0].where == "iptables filter, chain OUTPUT"
