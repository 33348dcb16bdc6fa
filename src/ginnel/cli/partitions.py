"""`ginnel nodes partitions`: which machines cannot meet by relay.

Room: cli.
"""

from __future__ import annotations

from typing import Any

from ginnel.cli.admin import ask, common, nodes, show


@nodes.command()
@common
def partitions(state: str | None, as_json: bool, output: str | None) -> None:
    """Show relay regions that some machines do not reach, and which pairs that keeps apart."""
    show(ask(state, "nodes.partitions", {}), as_json, output, _plain)


def _plain(found: list[dict[str, Any]]) -> None:
    if not found:
        print("All machines that are online reach each other by relay, as far as they tell.")
    for index, partition in enumerate(found):
        if index:
            print()
        _partition(partition)


def _partition(partition: dict[str, Any]) -> None:
    pairs = f"{'' if partition['pairs_counted'] else 'at most '}{partition['pairs']} pairs cannot meet by relay"
    region = f"Region {partition['region']} ({_text(partition['region_code'])}), since {partition['since']}"
    print(f"{region}: {pairs}; it is the home of {partition['homed']} machines.")
    print(f"  Why: {partition['cause']}.")
    named = [f"{_text(node['name'])} ({node['evidence']}, since {node['since']})" for node in partition["nodes"][:10]]
    more = partition["nodes_total"] - len(named)
    print("  Not reached by " + "; ".join(named) + (f"; and {more} more" if more > 0 else ""))
    for pair in partition["examples"]:
        arrow = "<-x->" if pair["both_ways"] else "--x->"
        print(f"  {_text(pair['from'])} {arrow} {_text(pair['to'])}")
    if partition["moved"]:
        print("  Given another home: " + ", ".join(map(_text, partition["moved"])))


def _text(said: str) -> str:
    """What machines call themselves loses its control characters."""
    return "".join(c for c in said if c.isprintable()) or "-"
