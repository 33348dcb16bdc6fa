"""`ginnel firewall sync`: keeps a firewall's set of addresses what the mesh needs now.

Room: cli.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ginnel.cli.firewall_options import Asking, asks_for_mesh
from ginnel.cli.local import ApiError, fail, local, plain

if TYPE_CHECKING:
    from ginnel.core.firewall.sync_words import Settings, Tell
    from ginnel.shell.firewall.member_feed import MemberFeed
    from ginnel.shell.firewall.sync_drive import Keeper
    from ginnel.shell.firewall.sync_run import Run
    from ginnel.shell.firewall.sync_source import FeedSource, MapSource

BACKENDS = ("nftables", "ipset", "ufw", "firewalld", "command")
ROLES = ("control", "login", "log", "relay")
OWN_FEED = "of the daemon's server"
QUARTER = 900.0  # seconds: what is promised
SAAS_EVERY = 300.0  # of somebody else's server
FAILURES = ("list-failed", "set-failed", "state-failed", "audit-failed")


def default_state() -> str:
    if os.geteuid() == 0:
        return "/var/lib/ginnel-firewall"
    return str(Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "ginnel-firewall")


@click.command()
@click.option("--backend", type=click.Choice(BACKENDS), default="nftables", show_default=True, help="Whose set it is.")
@click.option(
    "--set",
    "name",
    metavar="NAME",
    default="",
    help="nftables: inet/filter/ginnel4,ginnel6. ipset, firewalld: ginnel4,ginnel6. ufw: ports to let out, "
    "443/tcp,3478/udp. command: a JSON array of program and arguments.",
)
@click.option("--create", is_flag=True, help="Make the set where it is missing.")
@click.option("--once", is_flag=True, help="Once, for a timer; the default.")
@click.option("--watch", is_flag=True, help="Stay, and follow every change.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--every", type=click.FloatRange(1.0, QUARTER), help="Seconds between looks at the map.  [default: 60]")
@click.option(
    "--linger",
    type=click.FloatRange(1.0, 86400.0),
    default=300.0,
    show_default=True,
    help="Seconds that an address stays after it was named last, at the least.",
)
@click.option("--ttl-least", type=click.FloatRange(1.0, QUARTER), default=15.0, show_default=True, hidden=True)
@click.option("--role", "roles", multiple=True, type=click.Choice(ROLES), help="Hosts of this kind alone; repeatable.")
@click.option("--dns", "servers", multiple=True, metavar="IP[:PORT]", help="Resolver in place of the system's.")
@click.option(
    "--feed",
    metavar="[URL|FILE]",
    is_flag=False,
    flag_value=OWN_FEED,
    default="",
    help="The signed allowlist in place of the map; without a value that of the daemon's server.",
)
@click.option(
    "--feed-key",
    metavar="feedkey:HEX",
    default="",
    help="Who signs it; with --server alone: its feed. A member's daemon knows its own mesh's.",
)
@click.option("--state", type=click.Path(path_type=Path), default=default_state, show_default="by user")
@click.option("--audit", type=click.Path(path_type=Path), help="Append each change to this file, a line of JSON each.")
@click.option("--metrics", default="", help="Prometheus' numbers: PORT or IP:PORT to serve them, or a file.")
@click.option("--json", "as_json", is_flag=True, help="A report in JSON; with --watch a line for each event.")
@asks_for_mesh
def sync(*, asking: Asking, as_json: bool, watch: bool, once: bool, **options: Any) -> None:
    """Keep a firewall's set of addresses current: from the live map and DNS, or from the server's signed feed."""
    from ginnel.shell.firewall.sets import SetError
    from ginnel.shell.firewall.sync_audit import AuditError
    from ginnel.shell.firewall.sync_metrics import MetricsError
    from ginnel.shell.firewall.sync_state import StateError

    if watch and once:
        fail("--watch and --once exclude each other: give one of them")
    if watch and options["dry_run"]:
        fail("--dry-run looks once: leave --watch out")
    try:
        run = _run(asking, options)
        if watch:
            asyncio.run(run.watch(_event if as_json else _line))
            return
        heard: list[Tell] = []
        keeper = asyncio.run(run.once(heard.append if as_json else _line))
    except (SetError, StateError, AuditError, MetricsError) as error:
        fail(str(error))
    _report(keeper, run, heard if as_json else None)


def _run(asking: Asking, options: dict[str, Any]) -> Run:
    from ginnel.core.firewall.sync_words import Settings
    from ginnel.shell.firewall.sets.kinds import KINDS
    from ginnel.shell.firewall.sync_dns import Resolvers, parse_servers
    from ginnel.shell.firewall.sync_run import Run
    from ginnel.shell.firewall.sync_source import FreshTrust

    backend, name = options["backend"], options["name"]
    if not name and backend != "ufw":
        fail(f"--backend {backend} needs --set: `ginnel firewall sync --help` shows its form")
    target = KINDS[backend](name)
    try:
        servers = parse_servers(options["servers"])
    except ValueError as error:
        fail(f"--dns: {error}; expected for example 127.0.0.1:5353")
    every = options["every"] or (SAAS_EVERY if asking.wish.mesh == "tailscale-saas" else 60.0)
    settings: Settings = Settings(target.families, every, options["ttl_least"], QUARTER, options["linger"],
                                  min(60.0, every), target.batch)  # fmt: skip
    trust = FreshTrust(asking.wish.allowed)
    return Run(
        backend, name, target, _source(asking, options, trust), Resolvers(trust, servers), settings,
        options["state"], options["audit"], options["metrics"], options["create"], options["dry_run"],
    )  # fmt: skip


def _source(asking: Asking, options: dict[str, Any], trust: Any) -> MapSource | FeedSource | MemberFeed:
    from ginnel.core.firewall.needs import Role
    from ginnel.shell.firewall.member_feed import FEED_PATH, MemberFeed, own_feed
    from ginnel.shell.firewall.sync_source import FeedSource, MapSource
    from ginnel.wire.allowlist import FeedKey
    from ginnel.words import BadKey

    roles = frozenset(Role(role) for role in options["roles"] or ROLES)
    wish, key = asking.wish, options["feed_key"]
    feed, known = options["feed"] if options["feed"] != OWN_FEED else "", _daemon(asking)
    if not options["feed"] and not key:
        return MapSource(wish, known, roles, wish.source or "the daemon")
    if not key and wish.needs_daemon:
        return MemberFeed(feed, lambda: own_feed(known()), roles, trust, wish.pin)
    place = feed or (wish.server + FEED_PATH if wish.server else "")
    if not (place and key):
        fail("a feed needs both: --feed URL (or --server URL), and --feed-key feedkey:HEX of whom you trust")
    try:
        return FeedSource(place, FeedKey.parse(key), roles, trust, wish.pin)
    except BadKey as error:
        fail(f"--feed-key: {error}; `ginnel server allowlist-key` on the server prints it")


def _daemon(asking: Asking) -> Callable[[], dict[str, Any]]:
    """A daemon that is away now may be back later, so nothing ends by it."""
    from ginnel.shell.firewall.facts import DAEMON_KNOWS, FactsError

    def known() -> dict[str, Any]:
        api = local(asking.socket)
        if not api.listens():
            raise FactsError("ginneld is not running here: start it, or name a mesh with --server URL or --derp-map")
        try:
            return {name: api.get(name) for name in DAEMON_KNOWS}
        except ApiError as error:
            raise FactsError(str(error)) from None
        except SystemExit:
            raise FactsError("ginneld went away while it was asked") from None

    return known


def _line(told: Tell) -> None:
    print(plain(f"{told.kind}: {told.text}"), file=sys.stdout if told.kind in ("added", "removed") else sys.stderr)
    sys.stdout.flush()


def _event(told: Tell) -> None:
    print(json.dumps({"event": told.kind, "text": told.text}), flush=True)


def _report(keeper: Keeper, run: Run, heard: list[Tell] | None) -> None:
    """heard: what was told while it ran, for JSON; None: it stands there already."""
    from ginnel.core.firewall.sync_words import sorted_addresses

    failed = [kind for kind in FAILURES if keeper.counts[kind]]
    added, removed = ([str(ip) for ip in sorted_addresses(ips)] for ips in (keeper.added, keeper.removed))
    if heard is not None:
        print(json.dumps({
            "backend": run.backend, "set": run.name, "source": run.source.name, "dry_run": run.dry_run,
            "added": added, "removed": removed, "failing": keeper.machine.failing(), "failed": failed,
            "problems": list(run.source.problems), "numbers": keeper.machine.numbers(),
            "events": [{"event": told.kind, "text": told.text} for told in heard],
        }, indent=2))  # fmt: skip
    else:
        print(_summary(len(added), len(removed), round(keeper.machine.numbers()["addresses.held"]), run.dry_run))
    if failed:
        sys.exit(1)


def _summary(added: int, removed: int, held: int, dry_run: bool) -> str:
    """held: -1 where the set could not be read."""
    would = "would be " if dry_run else ""
    then = f"{held} {would}in the set" if held >= 0 else "what is in the set is not known"
    return f"{added} {would}added, {removed} {would}removed; {then}"
