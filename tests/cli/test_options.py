"""How options may be spelled."""

import click
import pytest
from click.testing import CliRunner

from ginnel.cli.node import up
from ginnel.cli.options import GoFlags
from ginnel.cli.ping import ping
from ginnel.cli.status import Wish
from ginnel.cli.status_command import status


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        (["--peers=false"], Wish(peers=False)),
        (["--self=false", "--json"], Wish(as_json=True, itself=False)),
        (["--peers=false", "--peers=true", "--header=true"], Wish(header=True)),
        (["--active=false"], Wish()),
    ],
)
def test_status_takes_switches_as_tailscale_s_users_type_them(words, wish, monkeypatch):
    seen = []
    monkeypatch.setattr("ginnel.cli.status_command.show", seen.append)
    result = CliRunner().invoke(status, words, catch_exceptions=False)
    assert (result.exit_code, seen) == (0, [wish])


@pytest.mark.parametrize("command", [status, ping, up])
def test_the_commands_that_tailscale_has_take_them(command):
    assert isinstance(command, GoFlags)


@pytest.mark.parametrize("word", ["--peers=maybe", "--socket-path=false", "--no-peers=true"])
def test_what_is_neither_true_nor_false_is_refused(word):
    assert CliRunner().invoke(status, [word]).exit_code == 2


def test_values_stay_values():
    @click.command(cls=GoFlags)
    @click.option("--name")
    @click.argument("rest", nargs=-1)
    def program(name, rest):
        click.echo(f"{name} {rest[0]}")

    assert CliRunner().invoke(program, ["--name", "x=false", "true"]).stdout == "x=false true\n"
