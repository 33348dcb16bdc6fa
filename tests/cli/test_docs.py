import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ginnel.cli.docs import chosen, docs, manual

PAGES = {path.stem: path.read_text() for path in (Path(__file__).parents[2] / "docs").glob("*.md")}


def test_each_page_of_docs_is_in_what_is_installed():
    assert manual() == PAGES


def test_a_page_is_found_by_how_its_name_begins():
    told = CliRunner().invoke(docs, ["nat"])
    assert told.exit_code == 0
    assert told.output.strip() == PAGES["nat-traversal"].strip()
    assert chosen("relay", list(PAGES)) == "relay"


@pytest.mark.parametrize("page", ["nonsense", "", "relay-"])
def test_a_name_of_none_or_of_several_is_one_line_with_the_choice(page):
    told = CliRunner().invoke(docs, [page])
    assert told.exit_code == 1
    assert told.output.count("\n") == 1
    assert "relay-dns" in told.output


def test_the_list_has_names_and_titles():
    lines = CliRunner().invoke(docs).output.splitlines()
    assert [line.split()[0] for line in lines] == sorted(PAGES)
    told = {row["name"]: row["title"] for row in json.loads(CliRunner().invoke(docs, ["--json"]).output)}
    assert told["firewall"] == "Firewalls"
    assert all(told.values())
