"""The table of commands; each is imported when it is called, so that all start quickly.

Room: cli.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from ginnel import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module and attribute, one line of help)
    "up": ("ginnel.cli.node:up", "Connect this machine to the mesh, logging in if needed"),
    "down": ("ginnel.cli.node:down", "Disconnect from the mesh, staying logged in"),
    "login": ("ginnel.cli.node:login", "Log in to a coordination server"),
    "logout": ("ginnel.cli.node:logout", "Log out: this machine's key is expired"),
    "status": ("ginnel.cli.status_command:status", "Show who is on the mesh and how each is reached"),
    "ping": ("ginnel.cli.ping:ping", "Ping a peer and say which path the answer took"),
    "path": ("ginnel.cli.path:path", "Show or limit the ways to peers: auto, direct or relay"),
    "ip": ("ginnel.cli.node:ip", "Show mesh addresses"),
    "netcheck": ("ginnel.cli.netcheck:netcheck", "Say what this network lets through"),
    "doctor": ("ginnel.cli.doctor:doctor", "Say why this machine or the way to a peer is not well, and the fix"),
    "speedtest": ("ginnel.cli.speedtest:speedtest", "Measure the throughput to a peer, and say by which path"),
    "docs": ("ginnel.cli.docs:docs", "Read the manual's pages"),
    "version": ("ginnel.cli.node:version", "Show the version"),
    "whois": ("ginnel.cli.node:whois", "Show the machine and user behind a mesh address"),
    "stun": ("ginnel.cli.stun:stun", "Ask a STUN server which address and port it sees"),
    "debug": ("ginnel.cli.debug:debug", "Look inside: DERP map, relays, the control connection"),
    "server": ("ginnel.cli.server:server", "Run the coordination server"),
    "relay": ("ginnel.cli.relay:relay", "Run a relay"),
    "users": ("ginnel.cli.admin:users", "Manage users of the coordination server"),
    "preauthkeys": ("ginnel.cli.admin:preauthkeys", "Manage keys that let machines join"),
    "nodes": ("ginnel.cli.partitions:nodes", "Manage the machines of the mesh"),
    "auth": ("ginnel.cli.admin:auth", "Approve machines that wait to join"),
    "policy": ("ginnel.cli.admin:policy", "Show, set or check the access policy"),
    "firewall": ("ginnel.cli.firewall:firewall", "Plan, write, apply and check what a firewall must let through"),
    "logs": ("ginnel.cli.logs:logs", "Show what machines have uploaded to the log host"),
    "lab": ("ginnel.cli.lab:lab", "Build networks with real NATs and try the mesh in them"),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on use. table: as COMMANDS."""

    def __init__(self, *args: Any, table: dict[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            near = get_close_matches(cmd_name, self.table)
            return ctx.fail(f"No such command {cmd_name!r}. Did you mean {' or '.join(near)}?") if near else None
        module, attribute = self.table[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            if self.table:
                formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def ginnel() -> None:
    """ginnel, a self-hosted mesh VPN."""
