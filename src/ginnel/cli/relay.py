"""`ginnel relay`: a relay alone, without a coordination server.

Room: cli.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import msgspec

from ginnel.cli.relay_fleet import add_verbs
from ginnel.cli.relay_zone import zone
from ginnel.words import BadKey, NodeKey, RegionId, WallTime

if TYPE_CHECKING:
    from ginnel.shell.fleet_agent import AgentSettings, FleetAgent
    from ginnel.shell.relay import EmbeddedRelay
    from ginnel.shell.relay_settings import AcmeSettings, RelaySettings, VerifySettings

FILE = click.Path(path_type=Path)
LEAVE_TIME = 10.0


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
    from ginnel.shell.descriptors import allow_descriptors
    from ginnel.shell.relay import EmbeddedRelay
    from ginnel.shell.relay_settings import RelayError

    options = Options(**given)
    logging.basicConfig(level=logging.WARNING, format="ginnel relay: %(message)s", stream=sys.stderr)
    allow_descriptors()
    try:
        fleet = settings_for(Path(options.state), options.join)
        settings = options.settings(joins=fleet is not None)
        allowed = _read_members(options.members)
        running = EmbeddedRelay.start(settings, WallTime(time.time()))
        running.set_members(allowed)
        try:
            asyncio.run(keep(running, settings, options, fleet))
        finally:
            running.close()
    except RelayError as error:
        _fail(str(error))


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    hostname: str
    state: str
    listen: tuple[str, ...]
    http: tuple[str, ...]
    stun: tuple[str, ...]
    cert: Path | None
    key: Path | None
    acme: bool
    acme_url: str | None
    acme_ca: Path | None
    acme_email: str
    members_only: bool
    members: Path | None
    verify_url: str | None
    verify_ca: Path | None
    verify_fail_open: bool
    verify_remember: int
    client_rate: int
    metrics: str | None
    region: int
    join: str | None
    ipv4: str
    ipv6: str
    drain_time: float | None
    as_json: bool

    def settings(self, *, joins: bool) -> RelaySettings:
        """`joins`: a server says who the members are. Raises click.UsageError."""
        from ginnel.shell.relay_settings import RelaySettings
        from ginnel.shell.systemd import inherited_sockets

        if joins and self.members is not None:
            raise click.UsageError("the server of the fleet says who the members are: leave out --members")
        if self.members_only and self.members is None and not joins:
            raise click.UsageError("--members-only needs the list: --members FILE")
        settings = RelaySettings(
            state=Path(self.state),
            hostname=self.hostname,
            tls=_addresses(self.listen or ("443",)),
            http=_addresses(self.http or ("80",)),
            stun=_addresses(self.stun or ("3478",)),
            certificate=self.cert,
            certificate_key=self.key,
            acme=self._acme(),
            verify=self._verify(),
            members_only=self.members_only or joins,
            ipv4=self.ipv4,
            ipv6=self.ipv6,
            receive_rate=self.client_rate,
            region=RegionId(self.region),
            inherited=inherited_sockets(),
        )
        if not settings.tls:
            raise click.UsageError("a relay has to listen somewhere: --listen 443")
        return settings

    def leave_time(self, settings: RelaySettings) -> float:
        """Where another process is about to take over the same sockets, clients need not go elsewhere."""
        if self.drain_time is not None:
            return self.drain_time
        return 0.0 if settings.inherited else LEAVE_TIME

    def _acme(self) -> AcmeSettings | None:
        from ginnel.shell.relay_settings import LETS_ENCRYPT, AcmeSettings

        if not self.acme:
            if self.acme_url or self.acme_ca or self.acme_email:
                raise click.UsageError("--acme-url, --acme-ca and --acme-email say how: add --acme")
            return None
        if self.cert is not None or self.key is not None:
            raise click.UsageError("--acme obtains the certificate: leave out --cert and --key")
        return AcmeSettings(self.acme_url or LETS_ENCRYPT, self.acme_ca, self.acme_email)

    def _verify(self) -> VerifySettings | None:
        from ginnel.shell.relay_settings import VerifySettings

        if self.verify_url is None:
            if self.verify_ca is not None or self.verify_fail_open:
                raise click.UsageError("--verify-ca and --verify-fail-open need --verify-url URL")
            return None
        return VerifySettings(self.verify_url, self.verify_fail_open, float(self.verify_remember), self.verify_ca)


def _addresses(texts: tuple[str, ...]) -> tuple[str, ...]:
    from ginnel.shell.relay_settings import listen_anywhere

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
    _look(running, at_once=True)


def _look(running: EmbeddedRelay, *, at_once: bool = False) -> None:
    from ginnel.shell.relay_settings import RelayError

    try:
        if running.tick(WallTime(time.time()), look=at_once):
            print("The certificate changed; the DERP map needs the new entry.", file=sys.stderr)
            _announce(running, as_json=True)
    except RelayError as error:
        print(f"ginnel relay: {error}", file=sys.stderr)


async def keep(running: EmbeddedRelay, settings: RelaySettings, options: Options, fleet: AgentSettings | None) -> None:
    """Serve until a signal, then end without losing who has just come. Raises RelayError."""
    from ginnel.cli.relay_join import joined
    from ginnel.shell.relay import TICK
    from ginnel.shell.systemd import notify

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if fleet is None:
        loop.add_signal_handler(signal.SIGHUP, lambda: _reload(running, options.members))
    else:
        loop.add_signal_handler(signal.SIGHUP, lambda: _look(running, at_once=True))
    async with AsyncExitStack() as beside:
        await _start_beside(beside, running, settings, options)
        agent = None
        if fleet is None:
            _announce(running, options.as_json)
        else:
            agent = await beside.enter_async_context(joined(running, fleet, stop))
        notify("READY=1")
        while not stop.is_set():
            _look(running)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TICK)
        notify("STOPPING=1")
        if agent is not None and options.leave_time(settings) > 0:
            await _leave(agent, options.leave_time(settings), stop)
        await running.retire()


async def _leave(agent: FleetAgent, patience: float, stop: asyncio.Event) -> None:
    """Another signal cuts it short."""
    stop.clear()
    tasks = [asyncio.create_task(agent.leave(patience)), asyncio.create_task(stop.wait())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            print(f"ginnel relay: {ended}", file=sys.stderr)


async def _start_beside(
    beside: AsyncExitStack, running: EmbeddedRelay, settings: RelaySettings, options: Options
) -> None:
    from ginnel.shell.relay_verify import Verifier

    verifier = Verifier(settings.verify, running.native) if settings.verify is not None else None
    if verifier is not None:
        await beside.enter_async_context(verifier)
    if options.metrics is not None:
        from ginnel.shell.relay_admin import AdminSide, serving

        side = AdminSide(running, verifier.numbers if verifier is not None else dict)
        host, wanted = _admin_address(options.metrics)
        port = await beside.enter_async_context(serving(side, host, wanted))
        at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        print(f"Numbers are at http://{at}/metrics , and a page at /debug for this machine alone.", file=sys.stderr)


def _admin_address(text: str) -> tuple[str, int]:
    """A port alone is this machine's."""
    from ginnel.shell.relay_settings import RelayError

    host, _, port = text.rpartition(":")
    try:
        address = str(ip_address(host.strip("[]") or "127.0.0.1"))
    except ValueError:
        port = ""
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise RelayError(f"expected --metrics as PORT or IP:PORT, got {text!r}")
    return address, int(port)
