"""Every command of docs/firewall.md, allowlist.md and doctor.md is typed by one of the tests, and none is forgotten.

Each of those tests takes its commands from the page; here stands whose each one is.
"""

import re
from pathlib import Path

from tests.cli import sync_page
from tests.cli.test_firewall_docs import COMMANDS
from tests.cli.test_firewall_docs_open import commands as opening_commands
from tests.lab.test_doctor_docs import COMMANDS as DOCTOR
from tests.lab.test_firewall_verify import COMMANDS as VERIFY
from tests.shell.control.test_allowlist_docs import COMMANDS as ALLOWLIST

DOCS = Path(__file__).parent.parent.parent / "docs"


def typed(page: str) -> list[str]:
    """What a reader would type: lines after `$` or `#` in console blocks, and lines that begin with a program."""
    text = (DOCS / page).read_text()
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    prompted = [line[2:] for block in blocks for line in block.splitlines() if line.startswith(("$ ", "# "))]
    indented = re.findall(r"^    ((?:sudo |ginnel |curl |nft ).*)$", text, re.MULTILINE)
    bare = re.findall(r"^[$] (.*)$", text, re.MULTILINE)
    assert set(bare) <= set(prompted), "a command outside of a console block"
    return prompted + indented


def test_every_command_of_the_firewall_page_is_typed_by_a_test() -> None:
    tried = [
        *(f"ginnel firewall {command}" for command in COMMANDS),
        *(line for _, line in sync_page.commands()),
        *(f"ginnel {command}" for command in VERIFY),
        *opening_commands(),
    ]
    assert sorted(typed("firewall.md")) == sorted(tried)
    assert len(tried) >= 35


def test_every_command_of_the_allowlist_page_is_typed_by_a_test() -> None:
    assert sorted(typed("allowlist.md")) == sorted(ALLOWLIST)
    assert len(ALLOWLIST) >= 6


def test_every_command_of_the_doctor_page_is_typed_by_a_test() -> None:
    assert sorted(typed("doctor.md")) == sorted(DOCTOR)
    assert len(DOCTOR) >= 4
