"""What all commands of `ginnel firewall` ask for that need the mesh's facts: whose mesh, and which profile.

Room: cli.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from ginnel.cli.local import ApiError, fail, local
from ginnel.cli.map_options import named
from ginnel.cli.options import socket_option
from ginnel.core.firewall.needs import Profile

if TYPE_CHECKING:
    from ginnel.core.firewall.needs import Plan
    from ginnel.core.firewall.plan import Facts
    from ginnel.shell.firewall.facts import Wish

PROFILES = get_args(Profile)
MESHES = ("self", "tailscale-saas")


@dataclass(frozen=True, slots=True)
class Asking:
    """What the command line says of the mesh; nothing is asked before `facts` or `plan`."""

    wish: Wish
    profile: Profile
    socket: str | None = None

    def facts(self) -> Facts:
        """Ends the command with one line where there are none."""
        import asyncio
        import time

        from ginnel.shell.firewall.facts import FactsError, gather
        from ginnel.words import WallTime

        try:
            known = self._daemon()
            return asyncio.run(gather(self.wish, known.__getitem__, WallTime(time.time())))
        except (FactsError, ApiError) as error:
            fail(str(error))

    def plan(self) -> Plan:
        return self.plan_of(self.facts())

    def plan_of(self, facts: Facts) -> Plan:
        from ginnel.core.firewall.plan import plan

        return replace(plan(facts, self.profile), again=shlex.join(self._again()))

    def _again(self) -> Iterator[str]:
        """The options by which another command means the same mesh, from whatever directory it is started."""
        wish = self.wish
        if wish.mesh == "tailscale-saas":
            yield from ("--profile", wish.mesh)
        if wish.server:
            yield from ("--server", wish.server)
        if wish.derp_map:
            yield from ("--derp-map", wish.derp_map if "://" in wish.derp_map else str(Path(wish.derp_map).absolute()))
        if wish.pin:
            yield from ("--pin", wish.pin)
        for network in wish.allowed:
            yield from ("--allow-address", str(network))
        if self.socket and wish.needs_daemon:
            yield from ("--socket", str(Path(self.socket).absolute()))

    def _daemon(self) -> dict[str, Any]:
        """What it knows, where that is needed."""
        from ginnel.shell.firewall.facts import DAEMON_KNOWS

        api = local(self.socket)
        if not self.wish.needs_daemon:
            return {}
        if not api.listens():
            fail(
                "ginneld is not running here: start it with `sudo ginneld`, or name a mesh with --server URL or "
                "--derp-map FILE"
            )
        return {name: api.get(name) for name in DAEMON_KNOWS}


OPTIONS = (
    click.option(
        "--profile",
        "profiles",
        multiple=True,
        type=click.Choice([*PROFILES, *MESHES]),
        help="recommended (default) or pinned destinations; self (default) or tailscale-saas, Tailscale's own service. "
        "May be given for both.",
    ),
    click.option("--server", metavar="URL", default="", help="The mesh of this coordination server; an invite does."),
    click.option("--pin", metavar="sha256-raw:HEX", default="", help="The one certificate that the URL has."),
    click.option(
        "--derp-map", metavar="FILE|URL", default="", help="These relays, instead of the server's or the daemon's."
    ),
    click.option(
        "--port",
        metavar="PORT",
        type=click.IntRange(0, 65535),
        help="The tunnel's UDP port; 0: any. Default: the daemon's.",
    ),
    click.option(
        "--allow-address",
        "allowed",
        metavar="NETWORK",
        multiple=True,
        help="Private addresses that are meant: 10.1.0.0/16.",
    ),
    socket_option,
)


def asks_for_mesh(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options; the command gets them as one `asking`."""

    @functools.wraps(command)
    def run(
        *, profiles: tuple[str, ...], server: str, pin: str, derp_map: str, port: int | None, allowed: tuple[str, ...],
        socket: str | None, **others: Any,
    ) -> None:  # fmt: skip
        from ginnel.shell.firewall.facts import Wish

        place = named(server, derp_map, pin, both=True)
        profile, mesh = _one(profiles, PROFILES), _one(profiles, MESHES)
        if mesh == "tailscale-saas" and place.server:
            fail("--profile tailscale-saas has its own server: leave --server out, or name a map with --derp-map")
        wish = Wish(place.server, place.pin, place.derp_map, mesh, _networks(allowed), port)
        command(asking=Asking(wish, profile, socket), **others)

    for option in reversed(OPTIONS):
        run = option(run)
    return run


def _one(given: tuple[str, ...], known: tuple[str, ...]) -> Any:
    """The one of a group that was given, else the group's first."""
    found = list(dict.fromkeys(name for name in given if name in known))
    if len(found) > 1:
        fail(f"--profile {found[0]} and --profile {found[1]} exclude each other: give one of them")
    return found[0] if found else known[0]


def _networks(texts: tuple[str, ...]) -> tuple[Any, ...]:
    from ipaddress import ip_network

    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as error:
        fail(f"--allow-address: {error}; expected a network such as 10.1.0.0/16")
