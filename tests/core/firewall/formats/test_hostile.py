"""Whatever strings a map, a URL or a policy holds, the rules are the same: only comments differ.

The naive twin of escaping: render the plan once with harmless texts and once with hostile ones, take out the texts, and
what is left must be equal, byte for byte. A quote that gets out of its string, a line that ends early, an option that
slips in: each leaves something behind.
"""

from __future__ import annotations

import csv
import io
import json
import re
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv6Address
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.firewall.checked import Refused, checked_name
from ginnel.core.firewall.formats.check import CannotExpress
from ginnel.core.firewall.formats.table import FORMATS
from ginnel.core.firewall.needs import Host, Plan
from tests.core.firewall.formats.plans import PINNED, RECOMMENDED

NASTY = (
    '"; drop', "'; reboot; '", "a\nCOMMIT\n-F", "\r\nfirewall-cmd --panic-on", "$(reboot)", "`reboot`", "\\", 'x\\"',
    "?", "{{resolve:ssm:secret}}", '${file("/etc/passwd")}', "%{ if true }", "[concat('a')]", "=cmd|' /C calc'!A0",
    "--flush", "-j ACCEPT", "%~", "^", "!", "# x", "end\nnext", "\u2028accept", "\u2018; reboot", "\x00", "\x1b[2J",
    "A" * 5000, "B" * 10_000, "\u202egnp.\u202c", "\u2066x\u2069", "\ufeff", "\u00e9\u0301", "\U000e0041",
    "@SUM(A1)", "remark ?", "<script>", "]]>", "*/", "rem & del", "accept }", "/32", "0.0.0.0/0", " ", "",
)  # fmt: skip
hostile = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=60),
    st.text(alphabet="\"'\\`$(){}[];&|<>#!?%^\n\r\t\x00\x1b=+-@* ab", max_size=40),
)
WORDS = r"[A-Za-z0-9 .,:/()_+*=@-]*"
TEXTS = {  # where a format has texts inside its rules
    "netsh": rf'description="{WORDS}"',
    "powershell": rf"-Description '{WORDS}'",
    "mikrotik": rf'comment="{WORDS}"',
    "cisco-asa": rf"remark {WORDS}",
    "cisco-ios": rf"remark {WORDS}",
    "fortigate": rf'comments? "{WORDS}"',
    "paloalto-edl-ip": rf"\. {WORDS}",
    "aws-terraform": rf'description += "{WORDS}"',
    "gcp-terraform": rf'description += "{WORDS}"',
    "azure-terraform": rf'description += "{WORDS}"',
}
JSON_TEXTS = {
    "description", "Description", "Notes", "comments", "notes", "why", "breaks", "looks_like", "needed_for", "source",
    "warnings", "region_code", "node",
}  # fmt: skip
LINES = [name for name, form in FORMATS.items() if form.comment or name.startswith("paloalto")]
DOCUMENTS = ["opnsense-alias", "little-snitch", "aws-json", "gcp-json", "azure-json", "json"]


def spoil(plan: Plan, texts: list[str]) -> Plan:
    """The plan with hostile strings wherever a stranger's may stand."""
    draw = cycle(texts)

    def host(one: Host) -> Host:
        return replace(one, region_code=next(draw), node=next(draw), needed_for=next(draw), breaks=next(draw))

    needs = tuple(
        replace(
            need, why=next(draw), breaks=next(draw), looks_like=next(draw), hosts=tuple(host(one) for one in need.hosts)
        )
        for need in plan.needs
    )
    return replace(plan, needs=needs, source=next(draw), warnings=tuple(next(draw) for _ in plan.warnings))


def bones(name: str, text: str) -> list[str]:
    """What a firewall reads: lines that are no comments, without the texts inside them."""
    mark = FORMATS[name].comment
    kept = []
    for line in text.replace("\r\n", "\n").split("\n"):
        assert re.fullmatch(r"[\t -~]*", line), f"{line!r} is no line of plain ASCII"
        if mark and line.lstrip().startswith(f"{mark} "):
            assert not line.endswith("\\"), "a comment is continued"
            assert "?" not in line, "a console would answer with help"
            continue
        kept.append(re.sub(TEXTS[name], "TEXT", line) if name in TEXTS else line)
    return kept


def blank(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "TEXT" if key in JSON_TEXTS else blank(inner) for key, inner in value.items()}
    return [blank(inner) for inner in value] if isinstance(value, list) else value


def possible(name: str) -> list[Plan]:
    return [PINNED] if name.startswith("paloalto") else [RECOMMENDED, PINNED]


def texts_stay_texts(name: str, plan: Plan, texts: list[str]) -> None:
    spoiled, meant = FORMATS[name].render(spoil(plan, texts)), FORMATS[name].render(plan)
    if name in LINES:
        assert bones(name, spoiled) == bones(name, meant)
        return
    assert blank(json.loads(spoiled)) == blank(json.loads(meant))
    if name != "json":  # that one is for programs and keeps texts as they are
        _no_expression(name, json.loads(spoiled))


@pytest.mark.parametrize("name", [*LINES, *DOCUMENTS])
def test_no_text_known_to_hurt_leaves_its_comment(name: str) -> None:
    for plan in possible(name):
        for start in range(len(NASTY)):
            texts_stay_texts(name, plan, [*NASTY[start:], *NASTY[:start]])


@given(name=st.sampled_from([*LINES, *DOCUMENTS]), texts=st.lists(hostile, min_size=1, max_size=6), data=st.data())
def test_no_text_leaves_its_comment(name: str, texts: list[str], data: st.DataObject) -> None:
    texts_stay_texts(name, data.draw(st.sampled_from(possible(name))), texts)


def test_every_format_is_tried_here() -> None:
    assert {*LINES, *DOCUMENTS, "csv"} == set(FORMATS)


def _no_expression(name: str, value: Any) -> None:
    """What a cloud would work out instead of storing."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("location", "defaultValue"):
                _no_expression(name, inner)
    elif isinstance(value, list):
        for inner in value:
            _no_expression(name, inner)
    elif isinstance(value, str):
        assert not value.startswith("["), "ARM would evaluate it"
        assert "{{" not in value, "CloudFormation would resolve it"
        assert name == "opnsense-alias" or "\n" not in value


@given(texts=st.lists(hostile, min_size=1, max_size=6))
def test_no_cell_is_a_formula(texts: list[str]) -> None:
    for plan in (RECOMMENDED, PINNED):
        found = list(csv.reader(io.StringIO(FORMATS["csv"].render(spoil(plan, texts)))))
        meant = list(csv.reader(io.StringIO(FORMATS["csv"].render(plan))))
        assert [row[:10] for row in found] == [row[:10] for row in meant]
        assert {len(row) for row in found} == {len(meant[0])}
        assert not [cell for row in found for cell in row if cell.startswith(("=", "+", "-", "@"))]


def test_the_texts_of_this_test_would_be_missed_if_they_got_out() -> None:
    text = FORMATS["mikrotik"].render(RECOMMENDED)
    broken = text.replace('comment="ginnel https: The', 'comment="ginnel https: "; /system reboot; "The')
    assert broken != text
    assert bones("mikrotik", broken) != bones("mikrotik", text)


@given(name=st.sampled_from([*FORMATS]), bad=hostile)
def test_a_name_that_is_none_is_refused_by_every_format(name: str, bad: str) -> None:
    with suppress(Refused):
        if not bad or checked_name(bad) == bad:
            return
    needs = tuple(
        replace(need, hosts=(replace(need.hosts[0], name=bad), *need.hosts[1:])) if need.hosts else need
        for need in PINNED.needs
    )
    with pytest.raises(CannotExpress) as refusal:
        FORMATS[name].render(replace(PINNED, needs=needs))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "bad", ["-j", "any", "all", "-all.example.com", "a.-b", "1.2.3.4", "16909060", "A.example", "a."]
)
def test_a_name_that_a_firewall_would_read_as_something_else_is_refused(name: str, bad: str) -> None:
    needs = tuple(
        replace(need, hosts=(replace(need.hosts[0], name=bad), *need.hosts[1:])) if need.hosts else need
        for need in PINNED.needs
    )
    with pytest.raises(CannotExpress):
        FORMATS[name].render(replace(PINNED, needs=needs))


@pytest.mark.parametrize("name", FORMATS)
def test_an_address_with_a_zone_is_refused_whatever_the_zone_says(name: str) -> None:
    zoned = IPv6Address('2001:db8::1%x";drop')
    needs = tuple(
        replace(need, hosts=(replace(need.hosts[0], addresses=(zoned,)), *need.hosts[1:])) if need.hosts else need
        for need in PINNED.needs
    )
    with pytest.raises(CannotExpress, match="zone"):
        FORMATS[name].render(replace(PINNED, needs=needs))
