"""`ginnel relay`: runs a relay, alone or of a fleet; the fleet's verbs stand in relay_fleet.py.

Room: cli.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ginnel.cli.relay_fleet import add_verbs
from ginnel.cli.relay_zone import zone
from ginnel.words import WallTime

if TYPE_CHECKING:
    pass

FILE = click.Path(path_type=Path)


def default_state() -> str:
    if os.geteuid() == 0:
        return "/var/lib/ginnel-relay"
    return str(Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "ginnel-relay")


@click.group()
def relay() -> None:
    """Run a relay, or look after a server's fleet of them."""


add_verbs(relay)


relay.add_command(zone)


@relay.command()
@click.option("--hostname", "--domain", required=True, help="Name or IP address by which nodes reach this relay.")
@click.option("--state", default=default_state, show_default="by user", help="Directory of its keys and certificate.")
@click.option("--listen", multiple=True, help="TLS: port or ip:port; may be repeated.  [default: 443]")
@click.option("--http", multiple=True, help="Plain HTTP: port or ip:port, or `none`.  [default: 80]")
@click.option("--stun", multiple=True, help="STUN: port or ip:port, or `none`.  [default: 3478]")
@click.option("--cert", type=FILE, help="PEM certificate chain; without it one is made and pinned.")
@click.option("--key", type=FILE, help="PEM key that belongs to it.")
@click.option("--acme", is_flag=True, help="Have an authority sign for --domain; you agree to its terms of service.")
@click.option("--acme-url", help="The authority's directory.  [default: Let's Encrypt]")
@click.option("--acme-ca", type=FILE, help="PEM certificates that vouch for an authority of your own.")
@click.option("--acme-email", default="", help="Where the authority may write to.")
@click.option("--members-only/--open", default=False, help="Only the node keys of --members may use it.")
@click.option("--members", type=FILE, help="File with one nodekey: per line, read again on SIGHUP.")
@click.option("--verify-url", help="URL that says whether a node may log in; asked at each login.")
@click.option("--verify-ca", type=FILE, help="PEM certificates that vouch for that URL's server.")
@click.option("--verify-fail-open", is_flag=True, help="Let everybody in while the URL does not answer.")
@click.option(
    "--verify-remember",
    type=click.IntRange(0, 3600),
    default=300,
    show_default=True,
    help="Seconds for which a yes counts while the URL does not answer.",
)
@click.option(
    "--client-rate", type=click.IntRange(0, 2**31), default=0, help="Bytes/s each client may send; 0: no limit."
)
@click.option(
    "--bootstrap-dns-names", default="", metavar="NAMES", help="Told to clients whose DNS fails; commas between."
)
@click.option(
    "--unpublished-bootstrap-dns-names", default="", metavar="NAMES", help="The same, each only to who asks for it."
)
@click.option("--metrics", help="Prometheus' numbers at /metrics, a page at /debug: port or ip:port.  [default: none]")
@click.option("--region", type=click.IntRange(1, 65535), default=900, show_default=True, help="Region in the DERP map.")
@click.option("--join", metavar="TOKEN", help="Join a server's fleet (`ginnel relay token create` there).")
@click.option("--ipv4", default="", help="IPv4 address for the DERP map, where --hostname is a name.")
@click.option("--ipv6", default="", help="IPv6 address for the DERP map.")
@click.option(
    "--drain-time",
    type=click.FloatRange(0, 3600),
    help="Seconds that a fleet's clients get to leave when it stops.  [default: 10; 0 where systemd has the sockets]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the DERP map entry alone.")
def run(**given: Any) -> None:
    """Run a relay until it is told to stop; prints its entry for the DERP map."""
    from ginnel.cli.relay_join import settings_for
    from ginnel.cli.relay_keep import fail, keep, read_members
    from ginnel.cli.relay_options import Options
    from ginnel.shell.descriptors import allow_descriptors
    from ginnel.shell.relay import EmbeddedRelay
    from ginnel.shell.relay_settings import RelayError

    options = Options(**given)
    logging.basicConfig(level=logging.WARNING, format="ginnel relay: %(message)s", stream=sys.stderr)
    allow_descriptors()
    try:
        fleet = settings_for(Path(options.state), options.join)
        settings, names = options.settings(joins=fleet is not None), options.bootstrap()
        allowed = read_members(options.members)
        running = EmbeddedRelay.start(settings, WallTime(time.time()))
        running.set_members(allowed)
        try:
            asyncio.run(keep(running, settings, options, names, fleet))
        finally:
            running.close()
    except RelayError as error:
        fail(str(error))
