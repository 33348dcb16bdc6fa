"""The page for readers is one that the command made, of all that there is, and says what is promised."""

import re
from pathlib import Path

from ginnel.lab.diagnosis.catalogue import FAULTS
from ginnel.lab.diagnosis.table import COLUMNS

PAGE = (Path(__file__).parents[3] / "docs/doctor-accuracy.md").read_text()


def test_the_page_has_a_row_for_each_question_in_each_network():
    asked = [match[1] for match in re.finditer(r"^\| ([a-z0-9-]+) \|", PAGE, re.MULTILINE) if match[1] != "fault"]
    assert sorted(asked) == sorted(fault.name for fault in FAULTS.values() for _ in fault.views)
    assert PAGE.count(COLUMNS) == 2


def test_the_pages_figures_are_those_that_are_asked_of_the_doctor():
    first, three = (int(match) for match in re.findall(r"\(([0-9]+) %\)", PAGE)[:2])
    assert first >= 90
    assert three >= 98
    assert "- faults that were called healthy: none" in PAGE
    assert "called faulty: none" in PAGE
    assert "not judged" not in PAGE
