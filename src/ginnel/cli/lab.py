"""`ginnel lab`: build networks with real NATs, run the mesh in them, look around in one that stands.

Room: cli. Progress goes to stderr, what was asked for to stdout; exit status 0 only when all of it passed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import click
import msgspec

from ginnel.cli.lab_diagnose import diagnose
from ginnel.lab import LabError

if TYPE_CHECKING:  # `ginnel lab --help` does without the lab's parts
    from ginnel.lab.scenario import Scenario

P = ParamSpec("P")
ONE_WAY_MAX = 1000.0  # milliseconds; with more, nothing is direct within any pair's limit
logs_option = click.option("--logs", type=click.Path(path_type=Path), help="Directory for what every program said.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Milliseconds(click.FloatRange):
    """A range that has no room for NaN, which compares false with every bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if isnan(found):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return found


@click.group()
def lab() -> None:
    """Networks with real NATs and firewalls on this machine, and the mesh tried in them."""


@contextmanager
def one_line() -> Iterator[None]:
    try:
        yield
    except LabError as error:
        click.echo(f"ginnel lab: {error}", err=True)
        sys.exit(1)


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with one_line():
            command(*args, **kwargs)

    return run


def put(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


say = partial(click.echo, err=True)


@lab.command("list")
@json_option
@guarded
def list_(as_json: bool) -> None:
    """Which scenarios and kinds of network there are."""
    from ginnel.lab.catalogue import catalogue

    found = catalogue()
    if as_json:
        return put(found)
    for scenario in found.scenarios:
        expects = ", ".join(f"{a}-{b} {path}" for a, b, path in scenario.pairs)
        click.echo(f"{scenario.name:16} {scenario.about} ({expects})")
    click.echo("\nKinds of network, for `ginnel lab matrix` and `ginnel lab probe`:")
    for kind in found.kinds:
        click.echo(f"{kind.name:27} {kind.about}")
    return None


@lab.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@logs_option
@json_option
@guarded
def run(names: tuple[str, ...], logs: Path | None, as_json: bool) -> None:
    """Run scenarios from start to verdict; what they built is gone afterwards."""
    from ginnel.lab.catalogue import scenario_named

    judge_all([scenario_named(name) for name in names], logs, as_json)


@lab.command()
@click.option("--kinds", help="Kinds by commas; all when not given.")
@click.option(
    "--family", type=click.Choice(["4", "6"]), default="4", show_default=True, help="6: kinds of network with IPv6."
)
@click.option("--official", is_flag=True, help="Tailscale's own clients at one end, each in turn, in a few kinds.")
@click.option("--moves/--no-moves", default=True, help="Take direct paths away again under traffic, or not.")
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(1), help="Runs of the whole.")
@click.option("--jobs", default=0, type=click.IntRange(0), help="Pairs side by side; as many as cores by default.")
@click.option(
    "--one-way",
    default=10.0,
    show_default=True,
    type=Milliseconds(0, ONE_WAY_MAX),
    help="Milliseconds from each site to the internet.",
)
@logs_option
@json_option
@guarded
def matrix(  # noqa: PLR0917  (click calls it by keywords)
    kinds: str | None,
    family: str,
    official: bool,
    moves: bool,
    repeat: int,
    jobs: int,
    one_way: float,
    logs: Path | None,
    as_json: bool,
) -> None:
    """Try a pair of nodes in each ordered pair of kinds of network."""
    from ginnel.lab.instance import can_stand
    from ginnel.lab.matrix import can_run, matrices, run_matrix
    from ginnel.lab.report import report
    from ginnel.lab.summary import grid_of, holds, summary

    wanted = matrices(
        [kind.strip() for kind in kinds.split(",") if kind.strip()] if kinds else None,
        family=6 if family == "6" else 4,
        official=official,
        one_way=one_way / 1000,
        runs=repeat,
        moves=moves,
    )
    can_stand()
    can_run(wanted)
    end_with_blocks()
    outcomes = [outcome for one in wanted for outcome in run_matrix(one, say, jobs, logs)]
    if as_json:
        put(report(outcomes))
    else:
        for said in (*grid_of(outcomes).splitlines(), *summary(outcomes)):
            click.echo(said)
    sys.exit(0 if holds(outcomes) else 1)


def end_with_blocks() -> None:
    """So that labs come down when somebody ends the command."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def judge_all(scenarios: list[Scenario], logs: Path | None, as_json: bool) -> None:
    from ginnel.lab.instance import can_stand
    from ginnel.lab.judge import judge
    from ginnel.lab.report import report

    can_stand()
    end_with_blocks()
    found = report([judge(scenario, say, logs) for scenario in scenarios])
    if as_json:
        put(found)
    else:
        for outcome in found.scenarios:
            for pair in outcome.pairs:
                by = pair.endpoint or pair.region
                click.echo(f"{outcome.name:24} {pair.a}-{pair.b} {pair.path} {by} (expected {pair.expected})")
        click.echo(f"{found.passed} passed, {found.failed} failed")
    sys.exit(0 if found.failed == 0 else 1)


@lab.command()
@click.argument("kinds", nargs=-1, metavar="[KIND]...")
@json_option
@guarded
def probe(kinds: tuple[str, ...], as_json: bool) -> None:
    """Verify that kinds of network (all when none is named) are what they claim to be."""
    from ginnel.lab.kinds import KINDS
    from ginnel.lab.verify import verify

    found = [verify(kind) for kind in kinds or KINDS]
    if as_json:
        put({"kinds": found})
    else:
        for one in found:
            verdict = "ok" if one.passed else "; ".join(one.differences)
            click.echo(f"{one.kind:27} {one.seconds:.2f} s  {verdict}")
    sys.exit(0 if all(one.passed for one in found) else 1)


@lab.command()
@click.argument("name")
@guarded
def up(name: str) -> None:
    """Build a scenario, start its programs, and leave it standing."""
    from ginnel.lab.standing import leave

    hosts = leave(name, say)
    click.echo(f"{name} stands. Look around, as in:")
    click.echo(f"  ginnel lab exec {name} {hosts[-1]} -- ginnel status\n  ginnel lab down {name}")
    click.echo(f"hosts: {', '.join(hosts)}")


@lab.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@guarded
def exec_(name: str, host: str, command: tuple[str, ...]) -> None:
    """Run a command on a host of a standing scenario."""
    from ginnel.lab.standing import step_into

    step_into(name, host)
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        raise LabError(f"cannot run {command[0]}: {error.strerror}") from None


@lab.command()
@click.argument("name")
@guarded
def down(name: str) -> None:
    """Take down a scenario that was left standing."""
    from ginnel.lab.standing import take_down

    take_down(name)


lab.add_command(diagnose)
