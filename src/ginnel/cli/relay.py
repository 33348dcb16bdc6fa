"""`ginnel relay`: a relay alone, without a coordination server.

Room: cli.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
import msgspec

from ginnel.cli.relay_fleet import add_verbs
from ginnel.cli.relay_zone import zone
from ginnel.words import BadKey, NodeKey, RegionId, WallTime

if TYPE_CHECKING:
    from ginnel.shell.relay import EmbeddedRelay


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
@click.option("--hostname", required=True, help="Name or IP address by which nodes reach this relay.")
@click.option("--state", default=default_state, show_default="by user", help="Directory of its keys and certificate.")
@click.option("--listen", multiple=True, help="TLS: port or ip:port; may be repeated.  [default: 443]")
@click.option("--http", multiple=True, help="Plain HTTP: port or ip:port, or `none`.  [default: 80]")
@click.option("--stun", multiple=True, help="STUN: port or ip:port, or `none`.  [default: 3478]")
@click.option(
    "--cert", type=click.Path(path_type=Path), help="PEM certificate chain; without it one is made and pinned."
)
@click.option("--key", type=click.Path(path_type=Path), help="PEM key that belongs to it.")
@click.option("--members-only/--open", default=False, help="Only the node keys of --members may use it.")
@click.option(
    "--members", type=click.Path(path_type=Path), help="File with one nodekey: per line, read again on SIGHUP."
)
@click.option(
    "--client-rate", type=click.IntRange(0, 2**31), default=0, help="Bytes/s each client may send; 0: no limit."
)
@click.option("--region", type=click.IntRange(1, 65535), default=900, show_default=True, help="Region in the DERP map.")
@click.option("--join", metavar="TOKEN", help="Join a server's fleet (`ginnel relay token create` there).")
@click.option("--ipv4", default="", help="IPv4 address for the DERP map, where --hostname is a name.")
@click.option("--ipv6", default="", help="IPv6 address for the DERP map.")
@click.option("--json", "as_json", is_flag=True, help="Print the DERP map entry alone.")
def run(  # noqa: PLR0917  (click calls it by keywords)
    hostname: str,
    state: str,
    listen: tuple[str, ...],
    http: tuple[str, ...],
    stun: tuple[str, ...],
    cert: Path | None,
    key: Path | None,
    members_only: bool,
    members: Path | None,
    client_rate: int,
    region: int,
    join: str | None,
    ipv4: str,
    ipv6: str,
    as_json: bool,
) -> None:
    """Run a relay until it is told to stop; prints its entry for the DERP map."""
    from ginnel.cli.relay_join import keep_joined, settings_for
    from ginnel.shell.descriptors import allow_descriptors
    from ginnel.shell.relay import EmbeddedRelay, RelayError, RelaySettings

    allow_descriptors()
    try:
        fleet = settings_for(Path(state), join)
    except RelayError as error:
        _fail(str(error))
    settings = RelaySettings(
        state=Path(state),
        hostname=hostname,
        tls=_addresses(listen or ("443",)),
        http=_addresses(http or ("80",)),
        stun=_addresses(stun or ("3478",)),
        certificate=cert,
        certificate_key=key,
        members_only=members_only or fleet is not None,
        ipv4=ipv4,
        ipv6=ipv6,
        receive_rate=client_rate,
        region=RegionId(region),
    )
    if not settings.tls:
        raise click.UsageError("a relay has to listen somewhere: --listen 443")
    if members_only and members is None:
        raise click.UsageError("--members-only needs the list: --members FILE")
    try:
        allowed = _read_members(members)
        running = EmbeddedRelay.start(settings, WallTime(time.time()))
        running.set_members(allowed)
    except RelayError as error:
        _fail(str(error))
    try:
        asyncio.run(_keep(running, members, as_json) if fleet is None else keep_joined(running, fleet))
    except RelayError as error:
        _fail(str(error))
    finally:
        running.close()


def _addresses(texts: tuple[str, ...]) -> tuple[str, ...]:
    from ginnel.shell.relay import listen_anywhere

    given = [text for text in texts if text != "none"]
    return tuple(listen_anywhere(int(text)) if text.isascii() and text.isdigit() else text for text in given)


def _read_members(path: Path | None) -> list[NodeKey]:
    if path is None:
        return []
    try:
        lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
        return [NodeKey.parse(line) for line in lines if line]
    except OSError as error:
        _fail(f"cannot read {path}: {error.strerror}; check its path and permissions")
    except (BadKey, UnicodeDecodeError):
        _fail(f"{path}: expected one nodekey: and 64 hex digits in each line")


def _fail(line: str) -> NoReturn:
    print(f"ginnel relay: {line}", file=sys.stderr)
    sys.exit(1)


def _announce(running: EmbeddedRelay, as_json: bool) -> None:
    region = running.region
    entry = msgspec.json.encode({str(region.region_id): region})
    print(msgspec.json.format(entry, indent=-1 if as_json else 2).decode(), flush=True)
    if as_json:
        return
    bound = running.native.addresses()
    wanted = [f"TCP {port}" for name in ("tls", "http") for _, port in bound[name]]
    wanted += [f"UDP {port}" for _, port in bound["stun"]]
    print(f"Relay {running.key.short()} is running. Put the entry under Regions of the DERP map.", file=sys.stderr)
    print(f"Open in the firewall, from anywhere: {', '.join(wanted)}.", file=sys.stderr)


def _reload(running: EmbeddedRelay, members: Path | None) -> None:
    """A list that can't be read changes nothing: an error must not become an empty list, nor end the relay."""
    try:
        running.set_members(_read_members(members))
    except SystemExit:
        print("The members stay as they were.", file=sys.stderr)


async def _keep(running: EmbeddedRelay, members: Path | None, as_json: bool) -> None:
    from ginnel.shell.relay import RENEWAL_CHECK, RelayError

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: _reload(running, members))
    _announce(running, as_json)
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), RENEWAL_CHECK)
        except TimeoutError:
            try:
                if running.tick(WallTime(time.time())):
                    print("The certificate changed; the DERP map needs the new entry.", file=sys.stderr)
                    _announce(running, as_json=True)
            except RelayError as error:
                print(f"ginnel relay: {error}", file=sys.stderr)
