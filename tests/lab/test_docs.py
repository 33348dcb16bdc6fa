"""The page for readers says what the data says."""

from pathlib import Path

from ginnel.lab.expected import LETTERS, MATRIX, MATRIX_V6, grid

PAGE = (Path(__file__).parents[2] / "docs/nat-traversal.md").read_text()


def test_the_page_shows_the_expected_table_as_it_is():
    assert grid(MATRIX) in PAGE
    assert grid(MATRIX_V6) in PAGE


def test_the_page_explains_every_technique():
    missing = [name for name, letter in LETTERS.items() if f"**{letter}, {name.replace('-', ' ')}.**" not in PAGE]
    assert missing == []


def test_the_page_names_every_kind():
    assert [kind for kind in (*MATRIX, *MATRIX_V6) if f"`{kind}`" not in PAGE] == []
