"""ipsets: what a rule that names one does depends on what is in it, as `ipset save` tells."""

from __future__ import annotations

import pytest

from ginnel.core.firewall.lint import ipset_save
from ginnel.core.firewall.lint.judge import Answer
from ginnel.core.firewall.lint.model import LintError, RuleSet
from ginnel.core.firewall.lint.read import about_ipsets, read
from ginnel.core.firewall.needs import Need
from tests.core.firewall.lint.rules import HTTPS, TUNNEL_IN, answer, finding, save

BLOCK = "-A INPUT -m set --match-set bad src -j DROP"
OPEN = "-A INPUT -p udp -m udp --dport 41641 -j ACCEPT"
RULES = save(BLOCK, OPEN)


def with_sets(*lines: str, rules: str = RULES) -> RuleSet:
    return read(rules.encode()).joined(read(("\n".join(lines) + "\n").encode()))


def test_without_its_contents_it_depends_and_the_user_is_told_what_to_add() -> None:
    rules = read(RULES.encode())
    got = finding(rules, TUNNEL_IN)
    assert got.answer is Answer.DEPENDS
    assert [(q.answer, q.packets) for q in got.quotes] == [
        (Answer.BLOCKED, "where it is in ipset bad (src)"),
        (Answer.PASSES, "unless it is in ipset bad (src)"),
    ]
    assert about_ipsets(rules) == [
        "the files do not tell what is in the ipset bad: add the output of `ipset save` as another FILE"
    ]


def test_an_empty_set_holds_nobody_and_one_of_private_networks_nobody_of_the_internet() -> None:
    assert answer(with_sets("create bad hash:net family inet"), TUNNEL_IN) is Answer.PASSES
    local = with_sets("create bad hash:net family inet", "add bad 10.0.0.0/8")
    assert answer(local, TUNNEL_IN) is Answer.PASSES
    assert about_ipsets(local) == []


def test_a_part_of_the_internet_is_named() -> None:
    got = finding(with_sets("create bad hash:net", "add bad 8.0.0.0/8", "add bad 8.8.0.0/16 nomatch"), TUNNEL_IN)
    assert got.quotes[0].packets == "from 8.0.0.0/13, 8.9.0.0-8.255.255.255"


def test_both_may_stand_in_one_file() -> None:
    sets = 'create bad hash:net family inet comment\nadd bad 8.0.0.0/8 comment "not nomatch"\n'
    for text in (sets + RULES, RULES + sets):
        assert finding(read(text.encode()), TUNNEL_IN).quotes[0].packets == "from 8.0.0.0/8"


def test_a_set_of_the_other_family_or_of_more_dimensions_than_are_asked_matches_nothing() -> None:
    assert answer(with_sets("create bad hash:net family inet6", "add bad ::/1"), TUNNEL_IN) is Answer.PASSES
    assert answer(with_sets("create bad hash:ip,port", "add bad 8.8.8.8,udp:41641"), TUNNEL_IN) is Answer.PASSES


def test_a_list_is_all_of_its_sets() -> None:
    lines = ["create a hash:ip", "add a 8.8.8.8", "create b hash:net", "add b 9.0.0.0/8", "create bad list:set size 8"]
    got = finding(with_sets(*lines, "add bad a", "add bad b"), TUNNEL_IN)
    assert got.quotes[0].packets == "from 8.8.8.8, 9.0.0.0/8"


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("create bad hash:mac", Answer.UNKNOWN),
        ("create bad hash:ip bitmask 255.0.255.0\nadd bad 1.0.3.0", Answer.UNKNOWN),
        ("create bad hash:net\nadd bad nonsense", Answer.UNKNOWN),
        ("create other hash:net", Answer.DEPENDS),
    ],
)
def test_what_is_not_understood_of_a_set_never_passes(made: str, why: Answer) -> None:
    assert answer(with_sets(*made.splitlines()), TUNNEL_IN) is why


def test_counters_of_a_set_are_not_known_before() -> None:
    rules = RULES.replace("bad src -j", "bad src --packets-gt 5 -j")
    assert answer(with_sets("create bad hash:net", "add bad 0.0.0.0/1", rules=rules), TUNNEL_IN) is Answer.UNKNOWN


def test_sides_and_ports_are_the_packet_s_own() -> None:
    rules = save("-A OUTPUT -m set --match-set bad dst,dst -j DROP")
    made = with_sets(
        "create bad hash:ip,port", "add bad 8.8.8.8,tcp:443", "add bad 8.8.4.4,icmp:echo-request", rules=rules
    )
    assert finding(made, HTTPS).quotes[0].packets == "to 8.8.8.8"
    assert answer(made, Need("web", "out", "tcp", None, 80)) is Answer.PASSES


def test_entries_that_go_by_themselves_are_told() -> None:
    rules = with_sets("create bad hash:ip family inet timeout 600", "add bad 8.8.8.8 timeout 5")
    assert about_ipsets(rules) == ["entries of the ipset bad go by themselves"]


def test_a_set_twice_is_refused_and_so_is_what_is_none() -> None:
    with pytest.raises(LintError, match="the ipset bad; give each once"):
        with_sets("create bad hash:ip").joined(read(b"create bad hash:ip\n"))
    with pytest.raises(LintError, match="not of it"):
        ipset_save.parse("create a hash:ip\nadd b 1.2.3.4\n")


def test_sets_alone_are_no_rules() -> None:
    assert answer(read(b"create bad hash:ip\n"), TUNNEL_IN) is Answer.UNKNOWN
