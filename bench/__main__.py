"""`python -m bench NAME... [--json]`: imports bench.NAME and prints its rows.

A bench is a module with `rows(n)`, which yields dicts: name, ours, unit, peer, theirs, ratio, limit, limit_ratio, n,
notes. `theirs` is None where the peer is absent, and the notes say so.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

BENCHES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure ginnel beside its peers.")
    parser.add_argument("names", nargs="+", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("-n", type=int, default=5, help="runs of each side; the median counts")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHES]
    if unknown:
        parser.error(f"no bench {unknown[0]!r}; there are {', '.join(BENCHES)}")
    for name in options.names:
        for row in importlib.import_module(f"bench.{name}").rows(options.n):
            print(json.dumps(row) if options.json else _line(row), flush=True)
    return 0


def _line(row: dict[str, object]) -> str:
    ours, theirs, ratio = (_figure(row.get(key)) for key in ("ours", "theirs", "ratio"))
    return (
        f"{row['name']:<20} {ours:>12} {row['unit']:<22} {row['peer']} {theirs:>12}  ratio {ratio:>7}  {row['notes']}"
    )


def _figure(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else "absent" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
