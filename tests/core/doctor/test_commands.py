"""Each command that the doctor prints can be typed as it stands."""

import shlex
from collections.abc import Iterator
from dataclasses import replace

import click
import pytest

from ginnel.cli.commands import ginnel
from ginnel.core.doctor.causes import Fix
from ginnel.core.doctor.diagnosis import Diagnosis, of_host, of_pair, of_stranger
from tests.core.doctor import test_host, test_network, test_own_firewall, test_pair
from tests.core.doctor.world import DEAD, HOST, PAIR, end


def diagnoses() -> Iterator[Diagnosis]:
    for host, *_ in [*test_host.CASES.values(), *test_network.CASES.values()]:
        yield of_host(host)
        yield of_pair(replace(DEAD, host=host))
    for pair, *_ in test_pair.CASES.values():
        yield of_pair(pair)
    yield of_stranger(HOST, "carol")
    for backend in ("ufw", "firewalld", "nftables", "none"):
        yield of_host(test_own_firewall.walled(test_own_firewall.stops("https", backend=backend)))


def fixes() -> dict[str, Fix]:
    return {one.fix.command: one.fix for said in diagnoses() for one in said.findings if one.fix is not None}


def parsed(command: click.Command, words: list[str]) -> None:
    """Raises UsageError where click would."""
    context = command.make_context(command.name, words)
    if isinstance(command, click.Group):
        name, sub, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert sub is not None, name
        parsed(sub, rest)


@pytest.mark.parametrize("command", sorted(filter(None, fixes())))
def test_a_command_is_one(command):
    first, *_ = command.split("|")
    words = [word for word in shlex.split(first) if word != "sudo"]
    assert not any(word.isupper() for word in words), "a placeholder"
    if words[0] == "ginnel":
        parsed(ginnel, words[1:])


def test_there_are_enough_of_them_to_prove_something():
    assert len(fixes()) > 20


def test_a_name_of_the_map_cannot_add_a_command():
    evil = replace(PAIR, peer=replace(PAIR.peer, name="bob;reboot"), own=end(PAIR.own, policy="relay", direct=""))
    said = of_pair(replace(evil, ping=replace(PAIR.ping, direct="", relay="fra")))
    commands = [one.fix.command for one in said.findings if one.fix is not None]
    assert "sudo ginnel path 'bob;reboot' auto" in commands


def test_the_daemon_that_is_down_has_a_command():
    assert of_host(replace(HOST, daemon=None)).findings[0].fix.command
