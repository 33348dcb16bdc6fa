"""`ginnel up/down/login/logout/ip/version/whois` (tailscale: cmd/tailscale/cli).

Room: cli.
"""

from __future__ import annotations

import json
import platform
import sys
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

import click

from ginnel import __version__
from ginnel.cli.local import ApiError, fail, local, plain
from ginnel.cli.options import GoFlags, socket_option
from ginnel.cli.peers import find, running_status
from ginnel.cli.types import SECONDS
from ginnel.cli.up import Wish, bring_up


@click.command(cls=GoFlags)
@click.option("--login-server", metavar="URL", help="The coordination server.")
@click.option("--auth-key", "--authkey", default="", metavar="KEY", help="A pre-auth key, or file:PATH of one.")
@click.option("--invite", metavar="TOKEN", help="An invite: server, its key and a pre-auth key in one.")
@click.option("--hostname", help="The name to take, instead of the machine's own.")
@click.option("--accept-routes/--no-accept-routes", default=None, help="Use subnet routes that other machines offer.")
@click.option("--advertise-tags", metavar="tag:A,tag:B", help="Tags to ask for.")
@click.option("--port-mapping/--no-port-mapping", default=None, help="Ask the home router for an open port.")
@click.option(
    "--path", type=click.Choice(["auto", "direct", "relay"]), help="Ways to peers; single ones: `ginnel path`."
)
@click.option("--force-reauth", is_flag=True, help="Log in anew with a new node key.")
@click.option("--reset", is_flag=True, help="What is not mentioned goes back to its default.")
@click.option("--timeout", type=SECONDS, default="0s", help="How long to wait; 0s: for ever.")
@click.option("--tun", hidden=True)
@click.option("--port", hidden=True)
@socket_option
def up(*, timeout: float, tun: str | None, port: str | None, socket: str | None, **wish: Any) -> None:
    """Connect this machine to the mesh, logging in if needed."""
    for name, value in (("--tun", tun), ("--port", port)):
        if value is not None:
            fail(f"{name} belongs to the daemon: start it as `ginneld {name} {value}`, then run `ginnel up` again")
    bring_up(local(socket), Wish(**wish), timeout)
    print("Success.")


@click.command()
@socket_option
def down(*, socket: str | None) -> None:
    """Disconnect from the mesh, staying logged in."""
    _patch(socket, {"WantRunning": False, "WantRunningSet": True})


@click.command()
@click.option("--login-server", metavar="URL", help="The coordination server.")
@click.option("--auth-key", "--authkey", default="", metavar="KEY", help="A pre-auth key, or file:PATH of one.")
@click.option("--invite", metavar="TOKEN", help="An invite: server, its key and a pre-auth key in one.")
@click.option("--hostname", help="The name to take, instead of the machine's own.")
@click.option("--timeout", type=SECONDS, default="0s", help="How long to wait; 0s: for ever.")
@socket_option
def login(*, timeout: float, socket: str | None, **wish: Any) -> None:
    """Log in to a coordination server, with a new key."""
    bring_up(local(socket), Wish(**wish, force_reauth=True), timeout)
    print("Success.")


@click.command()
@socket_option
def logout(*, socket: str | None) -> None:
    """Log out: this machine's key is expired at the server."""
    try:
        local(socket).post("logout")
    except ApiError as error:
        fail(str(error))


def _patch(socket: str | None, prefs: dict[str, Any]) -> None:
    try:
        local(socket).patch("prefs", prefs)
    except ApiError as error:
        fail(str(error))


@click.command()
@click.option("-4", "v4", is_flag=True, help="Only the IPv4 address.")
@click.option("-6", "v6", is_flag=True, help="Only the IPv6 address.")
@click.option("-1", "one", is_flag=True, help="Only one address.")
@click.option("--assert", "wanted", metavar="IP", help="Print nothing; exit status 0 if this address is one of them.")
@click.argument("peer", required=False)
@socket_option
def ip(*, v4: bool, v6: bool, one: bool, wanted: str | None, peer: str | None, socket: str | None) -> None:
    """Show mesh addresses of this machine or of PEER."""
    if v4 + v6 + one > 1:
        fail("-4, -6 and -1 exclude one another")
    got = running_status(local(socket))
    addresses: list[str] = (find(got, peer) if peer else got["Self"])["TailscaleIPs"] or []
    if wanted is not None:
        sys.exit(0 if wanted in addresses else f"no such address: {wanted}; it has {', '.join(addresses)}")
    version = 4 if v4 else 6 if v6 else 0
    chosen = [text for text in addresses if version in (0, ip_address(text).version)]
    if not chosen:
        fail("no such address")
    for text in chosen[:1] if one else chosen:
        print(text)


@click.command()
@click.option("--json", "as_json", is_flag=True)
def version(*, as_json: bool) -> None:
    """Show the version."""
    if as_json:
        print(json.dumps({"short": __version__, "long": __version__, "python": platform.python_version()}, indent=2))
    else:
        print(f"{__version__}\n  python: {platform.python_version()} {platform.machine()}")


@click.command()
@click.argument("address")
@click.option("--json", "as_json", is_flag=True)
@socket_option
def whois(address: str, *, as_json: bool, socket: str | None) -> None:
    """Show the machine and user behind a mesh ADDRESS (IP or IP:PORT)."""
    try:
        got = local(socket).get(f"whois?addr={quote(address)}")
    except ApiError as error:
        fail(str(error))
    if as_json:
        print(json.dumps(got, indent=2, ensure_ascii=False))
        return
    for line in whois_lines(got):
        print(line)


def whois_lines(got: dict[str, Any]) -> list[str]:
    """The text of `ginnel whois`."""
    node, user = got["Node"], got["UserProfile"]
    lines = [
        "Machine:",
        f"  Name:          {plain(node['Name'].rstrip('.'))}",
        f"  ID:            {plain(node['StableID'])}",
        f"  Addresses:     [{' '.join(node['Addresses'])}]",
    ]
    if len(node.get("AllowedIPs") or []) > 2:
        lines.append(f"  AllowedIPs:    [{' '.join(node['AllowedIPs'])}]")
    if node.get("Tags"):
        lines.append(f"  Tags:          {plain(', '.join(node['Tags']))}")
    else:
        lines += ["User:", f"  Name:     {plain(user['LoginName'])}", f"  ID:       {user['ID']}"]
    if got.get("CapMap"):
        lines.append("Capabilities:")
    for name, values in sorted((got.get("CapMap") or {}).items()):
        lines.append(f"  - {plain(name)}" + (":" if values else ""))
        lines += [f"      {plain(json.dumps(value, ensure_ascii=False))}" for value in values or []]
    return lines
