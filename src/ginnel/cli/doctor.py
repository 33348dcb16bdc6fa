"""`ginnel doctor`: why this machine, or the way to a peer, is not as it should be.

Room: cli. shell/doctor gathers, core/doctor judges; here it is asked for and printed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ginnel.cli.ginneld import DEFAULT_STATE
from ginnel.cli.local import ApiError, Local, NoDaemon, NotAllowed, fail, local, plain
from ginnel.cli.options import socket_option
from ginnel.cli.peers import known as known_machine

if TYPE_CHECKING:
    from ginnel.core.doctor.diagnosis import Diagnosis
    from ginnel.core.doctor.evidence import Pair
    from ginnel.shell.doctor.asking import Ask

log = logging.getLogger(__name__)


@click.command()
@click.argument("words", nargs=-1, metavar="[PEER]")
@click.option("--json", "as_json", is_flag=True, help="Instead of text.")
@click.option(
    "--state", default=DEFAULT_STATE, help="The daemon's state, where no daemon runs.  [default: as ginneld's]"
)
@click.option("--verbose", is_flag=True, help="With PEER: tell what happened between the two as well.")
@socket_option
def doctor(*, words: tuple[str, ...], as_json: bool, state: str, verbose: bool, socket: str | None) -> None:
    """Say what is wrong, why, and what to type where.

    Alone: this machine and its network. With PEER: why the way there is relayed or dead, by what both ends know.
    Exit status 0: healthy; 1: something is degraded or broken, or the doctor could not look.
    """
    from ginnel.shell.doctor.visit import CannotLook, Visit

    peer = _peer(words)
    visit = Visit(asking(local(socket)), known_machine, Path(state), _progress(quiet=as_json))
    try:
        diagnosis, pair = asyncio.run(visit.examine(peer))
    except CannotLook as error:
        _give_up(str(error), as_json=as_json)
    except Exception as error:
        log.exception("a fault of ginnel's own")
        _give_up(f"a fault of ginnel's own, which is above: {error}", as_json=as_json)
    finally:
        _progress(quiet=as_json)("")
    _show(diagnosis, pair, as_json=as_json, verbose=verbose)
    sys.exit(0 if diagnosis.verdict == "healthy" else 1)


def _peer(words: tuple[str, ...]) -> str | None:
    """`doctor bob`, and `doctor peer bob` too."""
    named = words[1:] if len(words) == 2 and words[0] == "peer" else words
    if len(named) > 1 or "" in named:
        raise click.UsageError("name one machine of the mesh, or none: `ginnel status` lists them")
    return named[0] if named else None


def asking(api: Local) -> Ask:
    """The local API for a visit, which ends in a diagnosis whatever the daemon does."""
    from ginnel.shell.doctor.asking import Refused, Unanswered

    def ask(method: str, name: str, seconds: float) -> Any:
        try:
            return api.try_to_ask(method, name, None, seconds)
        except NotAllowed as error:
            raise Refused(str(error)) from None
        except NoDaemon as error:
            raise Unanswered(str(error)) from None
        except TimeoutError:
            raise Unanswered("ginneld is there and does not answer; look at its log, or restart it") from None
        except ApiError as error:
            raise Refused(str(error)) from None

    return ask


def _progress(*, quiet: bool) -> Any:
    """One line on a terminal, "" takes it away."""

    def tell(line: str) -> None:
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    return tell if not quiet and sys.stderr.isatty() else lambda _: None


def _give_up(why: str, *, as_json: bool) -> None:
    if as_json:
        from ginnel.core.doctor.diagnosis import not_made

        print(json.dumps(not_made(why), indent=2))
    fail(why)


def _show(diagnosis: Diagnosis, pair: Pair | None, *, as_json: bool, verbose: bool) -> None:
    from ginnel.core.doctor.diagnosis import members
    from ginnel.core.doctor.text import lines, story

    if as_json:
        print(json.dumps(members(diagnosis), indent=2))
        return
    said = lines(diagnosis, pair)
    if pair is not None and verbose:
        said += ["", *story(pair.host.name, pair.own)]
        said += story(pair.peer.name, pair.theirs) if pair.theirs is not None else []
    print("\n".join(plain(line) for line in said))
