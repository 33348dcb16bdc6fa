"""`ginnel server`: run the coordination server.

Room: cli.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ginnel.cli.admin import ask, common, show

if TYPE_CHECKING:
    from ginnel.shell.control.run import ControlServer


@click.group()
def server() -> None:
    """Run the coordination server."""


@server.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Settings in TOML; none are needed.")
@click.option("--state", help="Directory for keys and the database.  [default: /var/lib/ginnel-server as root]")
@click.option("--url", help="How clients reach this server.  [default: https:// and this machine's address]")
@click.option("--listen", multiple=True, help="TLS, DERP and control: ip:port.  [default: [::]:443]")
@click.option("--listen-http", multiple=True, help="Port 80's answers: ip:port.  [default: [::]:80]")
@click.option("--stun-listen", multiple=True, help="STUN: ip:port.  [default: [::]:3478]")
@click.option("--listen-plain", multiple=True, help="HTTP without TLS, for a proxy in front: ip:port.")
@click.option("--certificate", help="PEM chain for the server's name; without it one is made and pinned.")
@click.option("--certificate-key", help="PEM key that belongs to it.")
@click.option("--metrics", help="Numbers for Prometheus and a page at /debug, on this ip:port.  [default: none]")
@click.option("--policy", help="Access policy file, read at the start and on SIGHUP.")
@click.option("--no-relay", is_flag=True, help="Run without the relay and its TLS; needs --listen-plain.")
@click.option("--quiet", is_flag=True, help="Print no invite.")
def run(config_file: Path | None, no_relay: bool, quiet: bool, **options: Any) -> None:
    """Run the coordination server until it is told to stop."""
    import logging

    import msgspec

    from ginnel.shell.control.beside import StartError
    from ginnel.shell.control.config import read_config
    from ginnel.shell.control.config_relays import ConfigError
    from ginnel.shell.control.serve import serve

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)

    async def ready(started: ControlServer) -> None:
        if not quiet:
            await _greet(started)

    try:
        config = read_config(config_file, options)
        if no_relay:
            config = msgspec.structs.replace(config, relay=msgspec.structs.replace(config.relay, enabled=False))
        if not config.relay.enabled and not config.listen_plain:
            raise ConfigError("without the relay nothing listens: add --listen-plain 127.0.0.1:8080")
        _run(serve(config, _relay_starter() if config.relay.enabled else None, ready))
    except (ConfigError, StartError) as error:
        raise click.ClickException(str(error)) from None


def _run(work: Any) -> None:
    import asyncio

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def _relay_starter() -> Any:
    from ginnel.shell.control.relayside import start_relay

    return start_relay


async def _greet(started: ControlServer) -> None:
    """How to join, until somebody has. The invite is one-shot, and worth as much as the key in it: a service that is
    started again writes none into its journal."""
    print(f"The server is up at {started.config.url}, its state in {started.config.state}.", flush=True)
    if started.coordinator.registry.nodes:
        print("Invite more machines by: ginnel server invite", flush=True)
        return
    invite = await started.new_invite()
    print("\nJoin the first machine within the hour:\n")
    print(f"    ginnel up --invite {invite}\n")
    print(f"or with an official client: tailscale up --login-server {started.login_server()}")
    print("then let it in here: ginnel auth list; ginnel auth approve ID --user default")
    print("More invites: ginnel server invite", flush=True)
    if sys.stdout.isatty():
        import segno

        segno.make(invite, error="l").terminal(compact=True)


@server.command()
@click.option("--state", help="The server's state directory.")
@click.option("--user", default="default", show_default=True, help="Who will own the machine.")
@click.option("--reusable", is_flag=True, help="Good for many machines.")
@click.option("--expiration", default="1h", show_default=True, help="How long it is good for.")
def invite(state: str | None, user: str, reusable: bool, expiration: str) -> None:
    """Make an invite for `ginnel up --invite`."""
    from ginnel.cli.admin import seconds

    arguments = {"user": user, "reusable": reusable, "expiration": seconds(expiration)}
    print(ask(state, "invites.create", arguments)["invite"])


@server.command("allowlist-key")
@common
def allowlist_key(state: str | None, as_json: bool, output: str | None) -> None:
    """Show the key that signs the allowlist feed, for `ginnel firewall sync --feed-key`."""
    show(ask(state, "allowlist.key", {}), as_json, output, lambda answer: print(answer["key"]))
