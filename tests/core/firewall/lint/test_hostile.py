"""Files that are meant to hurt: bounded in size, depth and work; an error of one line, or "unknown"."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.firewall.lint import iptables, model, nft_json
from ginnel.core.firewall.lint.judge import Answer, lint
from ginnel.core.firewall.lint.model import LintError
from ginnel.core.firewall.lint.read import FORMATS, read
from tests.core.firewall.lint.rules import HTTPS, TUNNEL, TUNNEL_IN, answer, nft, save


def test_chains_that_call_each_other_are_unknown() -> None:
    loop = nft([{"jump": {"target": "a"}}], a=[{"jump": {"target": "b"}}], b=[{"jump": {"target": "a"}}])
    assert answer(nft_json.parse(loop), TUNNEL_IN) is Answer.UNKNOWN


def test_a_chain_that_is_not_there_is_unknown() -> None:
    assert answer(nft_json.parse(nft([{"jump": {"target": "gone"}}])), TUNNEL_IN) is Answer.UNKNOWN


def test_a_tree_of_jumps_is_given_up_in_time() -> None:
    """2^15 ways through it."""
    chains = [f"C{n}" for n in range(15)]
    rules = [f"-A C{n} -m u32 --u32 {n}{m} -j C{n + 1}" for n in range(14) for m in "ab"] + ["-A INPUT -j C0"]
    started = time.process_time()
    assert answer(iptables.parse(save(*rules, chains=tuple(chains))), TUNNEL_IN) in (Answer.UNKNOWN, Answer.BLOCKED)
    assert time.process_time() - started < 20


def test_rules_that_part_packets_without_end_are_given_up_in_time() -> None:
    rules = [
        f"-A INPUT -s {n}.{m}.0.0/17 -m u32 --u32 {m} -j MARK --set-mark {m}" for n in range(1, 60) for m in range(60)
    ]
    rules += ["-A INPUT -m mark --mark 0x7 -j ACCEPT"]
    started = time.process_time()
    assert answer(iptables.parse(save(*rules)), TUNNEL_IN) is Answer.UNKNOWN
    assert time.process_time() - started < 20


def test_a_file_that_is_too_large_is_refused() -> None:
    with pytest.raises(LintError, match="larger"):
        read(b" " * (model.MAX_BYTES + 1))


def test_too_many_rules_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iptables, "MAX_RULES", 3)
    with pytest.raises(LintError, match="more than 3 rules"):
        iptables.parse(save(*["-A INPUT -j DROP"] * 3))


def test_deep_json_is_refused() -> None:
    with pytest.raises(LintError):
        read(('{"nftables": ' + "[" * 100_000 + "]" * 100_000 + "}").encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "{}",
        '{"nftables": 5}',
        '{"nftables": [{"rule": {"family": "inet"}}]}',
        '{"nftables": [{"chain": {"family": [], "table": 1, "name": {}}}]}',
        "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n",
        "*filter\n:INPUT\nCOMMIT\n",
        '*filter\n:INPUT DROP\n-A INPUT --comment "x\nCOMMIT\n',
        "*filter\n:INPUT DROP\nnonsense\n",
        '{"SecurityGroups": [5]}',
        '{"SecurityGroups": [{"IpPermissions": [{"IpProtocol": "udp", "FromPort": "x", "IpRanges": []}]}]}',
        '[{"direction": "INGRESS", "priority": "high"}]',
        '{"securityRules": [{"priority": 1}]}',
    ],
)
def test_what_is_no_rule_set_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(LintError) as refused:
        read(text.encode())
    assert "\n" not in str(refused.value)


WORDS = st.sampled_from(
    [
        "-A",
        "-I",
        "INPUT",
        "OUTPUT",
        "SUB",
        "-p",
        "udp",
        "tcp",
        "-m",
        "multiport",
        "--dport",
        "--sports",
        "1:2",
        "443,x",
        "-s",
        "1.2.3.4/33",
        "fe80::/10",
        "!",
        "-j",
        "ACCEPT",
        "DROP",
        "-g",
        "RETURN",
        "--ctstate",
        "NEW",
        "-i",
        "eth+",
        "--mark",
        "0x1/0x0",
        "zz",
        "-f",
        "--set-xmark",
        "MARK",
        "CONNMARK",
        "--restore-mark",
        "-c",
        "1",
        "CT",
        "--notrack",
    ]
)


@given(st.lists(st.lists(WORDS, max_size=8).map(" ".join), max_size=6))
def test_any_words_are_rules_or_an_error(lines: list[str]) -> None:
    text = save(*(f"-A INPUT {line}" for line in lines), chains=("SUB",))
    try:
        rules = iptables.parse(text)
    except LintError:
        return
    lint(rules, (HTTPS, TUNNEL, TUNNEL_IN))


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 70000),
    st.sampled_from(["udp", "@s", "1.2.3.4", "*", "eth*", "syn", "", "drop"]),
)
NAMES = st.sampled_from(
    [
        "match",
        "op",
        "left",
        "right",
        "payload",
        "protocol",
        "field",
        "meta",
        "key",
        "l4proto",
        "ct",
        "state",
        "set",
        "range",
        "prefix",
        "addr",
        "len",
        "concat",
        "elem",
        "val",
        "vmap",
        "data",
        "jump",
        "target",
        "accept",
        "drop",
        "mangle",
        "value",
        "&",
        "|",
        "fib",
        "flags",
        "limit",
        "xt",
        "name",
    ]
)
EXPRESSIONS: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)


@given(st.lists(st.lists(EXPRESSIONS, max_size=4), max_size=4))
def test_any_json_is_rules_or_an_error(rules: list[list[Any]]) -> None:
    try:
        got = nft_json.parse(nft(*rules))
    except LintError:
        return
    lint(got, (HTTPS, TUNNEL_IN))


@given(st.binary(max_size=300), st.sampled_from(sorted(FORMATS)))
def test_any_bytes_are_rules_or_an_error(data: bytes, form: str) -> None:
    try:
        lint(read(data, form), (TUNNEL_IN,))
    except LintError:
        return


@given(EXPRESSIONS, st.sampled_from(["aws-sg", "gcp", "azure-nsg"]))
def test_any_json_is_a_cloud_s_filter_or_an_error(found: Any, form: str) -> None:
    wrapped = {
        "aws-sg": {"SecurityGroups": [{"IpPermissions": [found]}]},
        "gcp": [found],
        "azure-nsg": {"securityRules": [found]},
    }
    try:
        lint(read(json.dumps(wrapped[form]).encode(), form), (TUNNEL_IN,))
    except LintError:
        return
