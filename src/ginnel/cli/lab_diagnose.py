"""`ginnel lab diagnose`: how often the doctor finds what was broken on purpose.

Room: cli. Rows go to stderr as they come, the totals to stdout.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

JOBS = 2 * (os.cpu_count() or 1)  # a network under diagnosis mostly waits


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--seed", default=1, show_default=True, help="Picks the kinds of network and the ways of each fault.")
@click.option("--jobs", default=0, type=click.IntRange(0), help="Networks side by side; twice the cores by default.")
@click.option("--list", "list_only", is_flag=True, help="Which faults there are.")
@click.option("--prove", is_flag=True, help="Only show by packets that each fault is in force; ask no doctor.")
@click.option("--table", type=click.Path(path_type=Path, dir_okay=False), help="Write the table as Markdown.")
@click.option("--logs", type=click.Path(path_type=Path), help="Directory for what every program said.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diagnose(  # noqa: PLR0917  (click calls it by keywords)
    names: tuple[str, ...],
    seed: int,
    jobs: int,
    list_only: bool,
    prove: bool,
    table: Path | None,
    logs: Path | None,
    as_json: bool,
) -> None:
    """Break networks on purpose, ask `ginnel doctor` on their machines, and count how often it is right.

    NAME is a fault or a group of them; all when none is named. Exit status 0 when 90 % of the first causes and 98 % of
    the first three are right, no fault was called healthy and nothing healthy faulty.
    """
    from ginnel.cli.lab import end_with_blocks, one_line, put, say
    from ginnel.lab.diagnosis.catalogue import faults_named, listed, told
    from ginnel.lab.diagnosis.report import accuracy
    from ginnel.lab.diagnosis.run import examine
    from ginnel.lab.diagnosis.table import page, summary
    from ginnel.lab.instance import can_stand

    with one_line():
        faults = faults_named(names)
        if list_only:
            return put(listed(faults)) if as_json else click.echo("\n".join(map(told, faults)))
        if table is not None:
            must_be_writable(table)
        can_stand()
        end_with_blocks()
        cases = examine(faults, seed, say, jobs=jobs or JOBS, logs=logs, doctor=not prove)
        found = accuracy(seed, cases)
        if table is not None:
            table.write_text(page(found))
        if as_json:
            put(found)
        elif not prove:
            click.echo("\n".join(summary(found.totals)))
        else:
            click.echo(f"{sum(case.proved for case in cases)} of {len(cases)} are in force")
    sys.exit(0 if (not found.totals.unproved if prove else found.totals.good) else 1)


def must_be_writable(table: Path) -> None:
    """Before minutes of work whose figures would be lost."""
    from ginnel.lab import LabError

    try:
        table.open("a").close()
    except OSError as error:
        raise LabError(f"cannot write {table}: {error.strerror}; name a file in a directory that is there") from None
