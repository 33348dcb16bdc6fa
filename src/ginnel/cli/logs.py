"""`ginnel logs`: what the mesh's machines have uploaded to this server's log host.

Room: cli. Lines come in pages, and the next is asked for when one is printed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from ginnel.cli.admin import ask, seconds, table
from ginnel.core.logs.plaintext import plain_line

WAIT = 20.0
JUST_NOW = 60.0
"""Seconds: what who follows is shown of the time before."""


@click.command()
@click.argument("node", default="")
@click.option("-f", "--follow", is_flag=True, help="Go on with lines as they come.")
@click.option("--since", help="Only what came in this time: 90s, 30m, 24h, 7d.  [default: all; with --follow 1m]")
@click.option("--sources", is_flag=True, help="Show who has lines here, and how much.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, an object for each line.")
@click.option("--state", help="The server's state directory.")
def logs(  # noqa: PLR0917
    node: str, follow: bool, since: str | None, sources: bool, as_json: bool, state: str | None
) -> None:
    """Show what NODE, or every machine, has uploaded to this server's log host.

    NODE is a name or number as in `ginnel nodes list`, or a log id.
    """
    if sources:
        _show_sources(ask(state, "logs.sources", {}), as_json)
        return
    back = seconds(since) if since else JUST_NOW if follow else None
    kept: dict[str, Any] = {}
    try:
        for answer in _pages(state, {"node": node, "since": back}, follow=follow):
            for line in answer["lines"]:
                _print(line, as_json)
            sys.stdout.flush()
            if follow and not kept:
                print(_kept(answer["kept"]), file=sys.stderr)
            kept = answer["kept"]
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stdout = None
        sys.exit(0)
    if not follow:
        print(_kept(kept), file=sys.stderr)


def _pages(state: str | None, question: dict[str, Any], *, follow: bool) -> Iterator[dict[str, Any]]:
    while True:
        answer = ask(state, "logs.read", question)
        yield answer
        if not follow and not answer["lines"]:
            return
        question = {
            "node": question["node"],
            "after": answer["after"],
            "wait": WAIT if follow and not answer["lines"] else 0,
        }


def _print(line: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(line))
        return
    more = json.dumps(line["more"]) if "more" in line else ""
    text = " ".join(part for part in (line.get("text", ""), more) if part)
    if text:
        print(f"{line.get('time') or line['received']} {_who(line)}: {plain_line(text)}")


def _who(line: dict[str, Any]) -> str:
    """Whose line it is, by that node's own word; `?` where two say so."""
    nodes = line["nodes"]
    if not nodes:
        return str(line["log_id"][:12])
    return plain_line(nodes[0] if len(nodes) == 1 else "|".join(nodes) + "?")


def _kept(kept: dict[str, Any]) -> str:
    text = (
        f"Kept for {kept['retention_days']:g} days, at most {kept['per_node_mib']} MiB of each machine and"
        f" {kept['max_mib']} MiB in all; {_size(kept['used_bytes'])} in use."
    )
    return f"{text} Nothing is taken now: {plain_line(kept['problem'])}" if kept["problem"] else text


def _size(size: int) -> str:
    return f"{size / 1024:.0f} KiB" if size < 1 << 20 else f"{size / (1 << 20):.0f} MiB"


def _show_sources(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    head = ["LOG ID", "CLAIMED BY", "SIZE", "OLDEST", "NEWEST"]
    rows = [(s["log_id"], s["nodes"], _size(s["bytes"]), s["oldest"], s["newest"]) for s in answer["sources"]]
    table(head, rows)
    refused = ", ".join(f"{count} {reason}" for reason, count in sorted(answer["refused"].items()))
    print(f"Uploads taken since the start: {answer['taken'].get('uploads', 0)}; refused: {refused or 'none'}.")
    print(_kept(answer["kept"]))
