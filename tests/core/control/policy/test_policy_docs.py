"""docs/policy.md shows what is true."""

import re
from pathlib import Path

import pytest

from ginnel.core.control.policy import PolicyError, parse_policy, run_tests
from ginnel.core.control.policy.aliases import AUTOGROUPS
from ginnel.core.control.policy.parse import SECTIONS
from ginnel.core.control.policy.ports import PROTOCOLS

PAGE = (Path(__file__).parents[4] / "docs" / "policy.md").read_text()
[EXAMPLE] = re.findall(r"```hujson\n(.*?)```", PAGE, re.DOTALL)


def test_the_worked_example_is_a_policy_whose_tests_hold():
    policy = parse_policy(EXAMPLE)
    assert len(policy.rules) == 4
    assert sum(len(test.expectations) for test in policy.tests) == 6
    assert run_tests(policy, []) == []


def test_the_examples_tests_would_notice_a_missing_rule():
    lines = [line for line in EXAMPLE.splitlines() if '"tag:web:22,443"' not in line]
    [broken] = [number for number, line in enumerate(lines, 1) if '"src": "bob@example.com", "accept"' in line]
    assert [failure.line for failure in run_tests(parse_policy("\n".join(lines)), [])] == [broken, broken]


def test_every_word_of_the_language_is_on_the_page():
    for word in [*AUTOGROUPS, *SECTIONS, *PROTOCOLS]:
        assert re.search(rf"[`\", ]{re.escape(word)}[`\",; ]", PAGE.replace("\n", " ")), word


@pytest.mark.parametrize(
    "member", re.findall(r"`(\w+)`", PAGE.partition("## Not supported yet")[2].partition(", and")[0])
)
def test_what_the_page_calls_unsupported_is_refused(member):
    with pytest.raises(PolicyError, match="not supported yet"):
        parse_policy(f'{{"acls": [], "{member}": []}}')
