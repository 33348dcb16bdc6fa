"""What a bench prints: rows of one shape, under names that stay.

`ours` and `theirs` are medians. `ratio` is ours divided by theirs, whether more is better or less. `limit` is the
budget of `ours`, `limit_ratio` that of `ratio`: the least where more is better, the most where less is. `n` counts the
measurements behind `ours`; `notes` begin with both sides' spread.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from statistics import median

KEYS = ("name", "ours", "unit", "peer", "theirs", "ratio", "limit", "limit_ratio", "n", "notes")
NAMES = re.compile(
    r"tunnel/(relayed-)?tcp|relay/(pps-1|pps-50|p99|flooded|idle-client|idle-10000)|(stun|dns)/answers|connect/(running|first-byte|direct)"
    r"|paths/(black-hole|back-to-direct|rebinding|address-change|link-up)|idle/packets|control/(connect|join-p99|join-cpu|rss)-\d+|cli/status|node/rss"
)

Row = dict[str, object]


def row(
    name: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    peer: str,
    limit: float | None = None,
    limit_ratio: float | None = None,
    notes: str = "",
    absent: str = "",
) -> Row:
    """absent: said where nothing of the peer's was measured, instead of a figure."""
    mine, other = median(ours), median(theirs) if theirs else None
    told = f"ours {spread(ours)}, {peer} {spread(theirs)}" if theirs else f"ours {spread(ours)}; {absent}"
    return {
        "name": name,
        "ours": _rounded(mine),
        "unit": unit,
        "peer": peer,
        "theirs": None if other is None else _rounded(other),
        "ratio": round(mine / other, 3) if other else None,
        "limit": limit,
        "limit_ratio": limit_ratio,
        "n": len(ours),
        "notes": "; ".join(part for part in (told, notes) if part),
    }


def not_measured(name: str, unit: str, why: str, peer: str | None = None) -> Row:
    """A row without figures, and why."""
    return dict.fromkeys(KEYS) | {"name": name, "unit": unit, "peer": peer, "n": 0, "notes": why}


def checked(found: Row) -> Row:
    """The row itself. ValueError where its shape or its name is not as readers of rows expect them."""
    if tuple(found) != KEYS and set(found) != set(KEYS):
        raise ValueError(f"a row has the keys {', '.join(KEYS)}, this one {', '.join(found)}")
    if not NAMES.fullmatch(str(found["name"])):
        raise ValueError(f"no row is named {found['name']!r}")
    if not isinstance(found["n"], int) or (found["ours"] is None) != (found["n"] == 0):
        raise ValueError(f"{found['name']}: a figure has its n, and only a figure has")
    return {key: found[key] for key in KEYS}


def spread(values: Sequence[float]) -> str:
    return f"{min(values):.4g}..{max(values):.4g}" if values else "none"


def percentile(values: Sequence[float], part: float) -> float:
    """The nearest rank: the smallest value that at least `part` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * part // 1) - 1)]


def burden() -> str:
    """How busy the machine is otherwise: a shared one makes every wall-clock figure worse."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
