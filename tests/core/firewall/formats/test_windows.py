"""Windows: PowerShell's grammar reads the script, and the batch file says the same rules."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest
import tree_sitter
import tree_sitter_powershell
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.firewall.formats.table import FORMATS
from ginnel.core.firewall.needs import Plan
from tests.core.firewall.formats.plans import ANY_PORT, ONLY_IPV4, PINNED, RECOMMENDED, many_regions
from tests.core.firewall.formats.test_hostile import NASTY, hostile, spoil

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
PLANS = {
    "recommended": RECOMMENDED,
    "pinned": PINNED,
    "any port": ANY_PORT,
    "IPv4": ONLY_IPV4,
    "250": many_regions(250),
}
SAME = {
    "DisplayName": "name", "Direction": "dir", "Action": "action", "Profile": "profile", "Protocol": "protocol",
    "LocalPort": "localport", "RemotePort": "remoteport", "RemoteAddress": "remoteip", "Description": "description",
}  # fmt: skip
Rule = dict[str, str]


def nodes(node: tree_sitter.Node, kind: str) -> Iterator[tree_sitter.Node]:
    if node.type == kind:
        yield node
    for child in node.children:
        yield from nodes(child, kind)


def text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode("ascii")


def commands(script: str) -> list[tuple[str, Rule]]:
    """Each command's name and its parameters, as the grammar sees them."""
    root = PARSER.parse(script.encode("ascii")).root_node
    assert not root.has_error
    return [command(node) for node in nodes(root, "command")]


def command(node: tree_sitter.Node) -> tuple[str, Rule]:
    [name] = nodes(node, "command_name")
    given: Rule = {}
    last = ""
    for part in (part for elements in node.children[1:] for part in elements.children if text(part).strip()):
        if part.type == "command_parameter":
            last = text(part).removeprefix("-")
            given[last] = ""
        else:
            given[last] += text(part).replace("'", "")
    return text(name), given


def from_powershell(plan: Plan) -> list[Rule]:
    first, *rest = commands(FORMATS["powershell"].render(plan))
    assert first == ("Remove-NetFirewallRule", {"Group": "ginnel", "ErrorAction": "SilentlyContinue"})
    assert {name for name, _ in rest} == {"New-NetFirewallRule"}
    assert len({given["Name"] for _, given in rest}) == len(rest)
    assert {given["Group"] for _, given in rest} == {"ginnel"}
    return [{SAME[key]: value for key, value in given.items() if key in SAME} for _, given in rest]


def from_netsh(plan: Plan) -> list[Rule]:
    lines = FORMATS["netsh"].render(plan).split("\r\n")
    added = [shlex.split(line)[5:] for line in lines if line.startswith("netsh advfirewall firewall add rule ")]
    return [dict(re.split("=", word, maxsplit=1) for word in words) for words in added]


def alike(rule: Rule) -> Rule:
    """As Windows compares: without regard to case; it calls a direction by two names."""
    return {key: value.lower().removesuffix("bound") for key, value in rule.items()}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_both_say_the_same_rules(plan: Plan) -> None:
    assert [alike(rule) for rule in from_powershell(plan)] == [alike(rule) for rule in from_netsh(plan)]


def test_the_script_allows_what_the_plan_says() -> None:
    found = {rule["name"].removeprefix("ginnel "): rule for rule in from_powershell(PINNED)}
    assert [need.id for need in PINNED.needs] == list(found)
    for need in PINNED.needs:
        rule = found[need.id]
        assert (rule["dir"], rule["action"], rule["profile"]) == (f"{need.direction.title()}bound", "Allow", "Any")
        near = need.port if need.direction == "in" else need.source_port
        assert rule["protocol"] == need.transport.upper()
        assert rule["localport"] == str(near or "Any")
        assert need.direction == "in" or rule["remoteport"] == str(need.port or "Any")
        addresses = {str(address) for host in need.hosts for address in host.addresses}
        assert set(rule["remoteip"].split(",")) == (addresses or {"Any"})


@given(texts=st.lists(st.one_of(hostile, st.sampled_from(NASTY)), min_size=1, max_size=6))
def test_no_text_makes_a_command_or_an_argument(texts: list[str]) -> None:
    meant, spoiled = (
        [(name, {**given, "Description": ""}) for name, given in commands(FORMATS["powershell"].render(plan))]
        for plan in (PINNED, spoil(PINNED, texts))
    )
    assert spoiled == meant


def test_no_line_is_longer_than_cmd_reads() -> None:
    assert max(map(len, FORMATS["netsh"].render(many_regions(2_000)).split("\r\n"))) < 8_191
