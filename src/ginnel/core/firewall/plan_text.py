"""A plan in lines for people: a table where there is room, blocks where there is not.

Room: core. Nothing here is a rule to paste: `ginnel firewall rules` writes those.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from textwrap import wrap as any_wrap

from ginnel.core.firewall.needs import Need, Plan

wrap = partial(any_wrap, break_on_hyphens=False)
NARROW = 90
"""Fewer columns than that: blocks."""
NARROWEST = 40
WIDEST = 132
GAP = "  "
HEADER = ("RULE", "ALLOW (IPv4 and IPv6)", "WHY, AND WHAT HAPPENS WITHOUT IT")


def plan_lines(plan: Plan, columns: int) -> list[str]:
    """`columns`: of the terminal."""
    width = max(NARROWEST, min(columns, WIDEST))
    lines = wrap(f"What firewalls must let through, profile {plan.profile}, facts from {plan.source}:", width)
    lines += ["", *(_table(plan, width) if width >= NARROW else _blocks(plan, width))]
    if plan.refresh_by:
        lines += wrap(f"These destinations are to be refreshed by {plan.refresh_by} at the latest.", width)
    for warning in plan.warnings:
        lines += wrap(f"Warning: {warning}", width, subsequent_indent=GAP)
    return lines


def allowed(need: Need) -> str:
    """What to let through, in few words: "out UDP from port 41641 to *:*"."""
    transport = need.transport.upper()
    if need.direction == "in":
        return f"in {transport} to port {need.port or '*'} of this machine"
    source = f" from port {need.source_port}" if need.source_port else ""
    target = f"{_hosts(need)}:{need.port or '*'}" if not need.hosts else f"port {need.port or '*'} of {_hosts(need)}"
    return f"out {transport}{source} to {target}"


def _hosts(need: Need) -> str:
    if not need.hosts:
        return "*"
    return "1 host" if len(need.hosts) == 1 else f"{len(need.hosts)} hosts (`ginnel firewall allowlist`)"


def _paragraphs(need: Need) -> Iterator[str]:
    if need.optional:
        yield "Optional."
    yield need.why
    yield f"Without it: {need.breaks}"
    yield f"How that looks: {need.looks_like}"


def _blocks(plan: Plan, width: int) -> Iterator[str]:
    for need in plan.needs:
        yield from wrap(f"{need.id}: {allowed(need)}", width, subsequent_indent=GAP)
        for paragraph in _paragraphs(need):
            yield from wrap(paragraph, width, initial_indent=GAP, subsequent_indent=GAP)
        yield ""


def _table(plan: Plan, width: int) -> Iterator[str]:
    first = max(len(HEADER[0]), *(len(need.id) for need in plan.needs))
    second = min(36, max(len(HEADER[1]), *(len(allowed(need)) for need in plan.needs)))
    third = width - first - second - 2 * len(GAP)
    yield _row(HEADER, (first, second))
    for need in plan.needs:
        left = wrap(allowed(need), second)
        right = [line for paragraph in _paragraphs(need) for line in wrap(paragraph, third)]
        for at in range(max(len(left), len(right))):
            cells = (need.id if at == 0 else "", _at(left, at), _at(right, at))
            yield _row(cells, (first, second))
        yield ""


def _row(cells: tuple[str, str, str], widths: tuple[int, int]) -> str:
    return GAP.join((cells[0].ljust(widths[0]), cells[1].ljust(widths[1]), cells[2])).rstrip()


def _at(lines: list[str], at: int) -> str:
    return lines[at] if at < len(lines) else ""
