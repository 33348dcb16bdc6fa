"""`python -m bench NAME... [--json]`: imports bench.NAME and prints its rows.

A bench is a module with `rows(n)`, which yields rows (see `_rows`). `theirs` is None where the peer is absent, and the
notes say so. `all` stands for every bench. The exit status is 1 where a bench broke; the others still run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from bench._rows import Row, checked

BENCHES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure ginnel beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", default=["all"], help=f"all, {', '.join(BENCHES)}")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("-n", type=int, default=5, help="runs of each side; the median counts")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in (*BENCHES, "all")]
    if unknown:
        parser.error(f"no bench {unknown[0]!r}; there are {', '.join(BENCHES)}")
    if options.n < 1:
        parser.error("-n counts from 1")
    names = BENCHES if "all" in options.names else options.names
    broken = [name for name in names if not _print(name, options.n, as_json=options.json)]
    return 1 if broken else 0


def _print(name: str, n: int, *, as_json: bool) -> bool:
    """Whether it ran to its end. A bench of many programs can fail in many ways, and the others are still worth it."""
    try:
        for row in importlib.import_module(f"bench.{name}").rows(n):
            found = checked(row)
            print(json.dumps(found) if as_json else _line(found), flush=True)
    except Exception as error:  # noqa: BLE001
        first = _first(error)
        print(f"python -m bench {name}: {type(first).__name__}: {first}", file=sys.stderr)
        return False
    return True


def _first(error: BaseException) -> BaseException:
    """What a group of tasks died of."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _line(row: Row) -> str:
    ours, theirs, ratio = (_figure(row[key]) for key in ("ours", "theirs", "ratio"))
    limits = [f"limit {_figure(row['limit'])}"] if row["limit"] is not None else []
    limits += [f"limit of the ratio {_figure(row['limit_ratio'])}"] if row["limit_ratio"] is not None else []
    return (
        f"{row['name']:<20} {ours:>10} {row['unit']:<18} {row['peer'] or 'no peer'} {theirs:>8}  ratio {ratio:>6}  "
        f"{'  '.join(limits)}  n {row['n']}  {row['notes']}"
    )


def _figure(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else "absent" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
