"""`ginnel docs`: the manual's pages, as they were when this version was made.

Room: cli.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files

import click

from ginnel.cli.local import fail

TITLE = re.compile(r"# (.+)")


@click.command()
@click.argument("page", required=False)
@click.option("--json", "as_json", is_flag=True, help="Of the list: as JSON.")
def docs(*, page: str | None, as_json: bool) -> None:
    """Read PAGE of the manual (`ginnel docs nat`: how machines behind NATs find each other); alone, list the pages."""
    pages = manual()
    if page is not None:
        click.echo_via_pager(pages[chosen(page, list(pages))])
        return
    titles = {name: title(text) for name, text in pages.items()}
    if as_json:
        print(json.dumps([{"name": name, "title": heading} for name, heading in titles.items()], indent=2))
        return
    width = max(map(len, titles), default=0)
    for name, heading in titles.items():
        print(f"{name:{width}}  {heading}")


def manual() -> dict[str, str]:
    """Names in order, and texts in Markdown."""
    found = {one.name.removesuffix(".md"): one for one in files("ginnel.manual").iterdir() if one.name.endswith(".md")}
    return {name: found[name].read_text(encoding="utf-8") for name in sorted(found)}


def chosen(page: str, names: list[str]) -> str:
    """A page's name, or the one that begins so. Ends the command where none does, or several do."""
    wanted = page.lower().removesuffix(".md")
    begin = [wanted] if wanted in names else [name for name in names if name.startswith(wanted)]
    if len(begin) != 1:
        fail(f"the manual has {'several pages' if begin else 'no page'} {page!r}: {', '.join(begin or names)}")
    return begin[0]


def title(text: str) -> str:
    heading = TITLE.match(text)
    return heading[1] if heading else ""
