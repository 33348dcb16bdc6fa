"""`ginnel debug derp-map | derp | portmap | ts2021`: look inside (tailscale: cmd/tailscale/cli/debug.go).

Room: cli.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from ginnel.cli.local import ApiError, fail, local, plain
from ginnel.cli.options import socket_option

PORTMAP_TIME = 30.0


@click.group()
def debug() -> None:
    """Look inside: DERP map, relays, the control connection."""


@debug.command("derp-map")
@socket_option
def derp_map(*, socket: str | None) -> None:
    """Print the DERP map."""
    print(json.dumps(_derp_map(socket), indent=1))


def _derp_map(socket: str | None) -> dict[str, Any]:
    try:
        got: dict[str, Any] = local(socket).get("derpmap")
    except ApiError as error:
        fail(str(error))
    return got


@debug.command("derp")
@click.argument("region")
@socket_option
def derp(region: str, *, socket: str | None) -> None:
    """Try a relay REGION (number or code): TLS, logins, STUN, port 80."""
    import asyncio

    from ginnel.shell.node.relay_probe import probe_region
    from ginnel.wire.tailcfg import DERPMap, decode

    derp_map = decode(DERPMap, json.dumps(_derp_map(socket)).encode())
    regions = [one for one in (derp_map.regions or {}).values() if one is not None]
    wanted = [one for one in regions if region in (str(one.region_id), one.region_code)]
    if not wanted:
        known = ", ".join(f"{one.region_id} ({one.region_code})" for one in regions)
        fail(f"the DERP map has no region {region!r}; it has {known or 'none: run `ginnel up` first'}")
    found = asyncio.run(probe_region(wanted[0], only_region=len(regions) == 1))
    print(json.dumps({"Info": found.info, "Warnings": found.warnings, "Errors": found.errors}, indent=1))
    sys.exit(1 if found.errors else 0)


@debug.command("portmap")
@click.option("--json", "as_json", is_flag=True, help="Instead of text.")
@socket_option
def portmap(*, as_json: bool, socket: str | None) -> None:
    """Ask the home router for a port now, and say what came of it."""
    try:
        got = local(socket).post("debug-portmap", timeout=PORTMAP_TIME)
    except ApiError as error:
        fail(str(error))
    if as_json:
        print(json.dumps(got["Report"], indent=1))
    elif not got["Report"]["External"]:
        fail(plain(got["Text"].splitlines()[-1]))
    else:
        for line in got["Text"].splitlines():
            print(plain(line))


@debug.command("ts2021")
@click.option("--login-server", metavar="URL", help="Instead of the daemon's server.")
@socket_option
def ts2021(*, login_server: str | None, socket: str | None) -> None:
    """Connect to the coordination server step by step: /key, upgrade, Noise, HTTP/2."""
    import asyncio

    from ginnel.cli.up import check_url

    pinned = ""
    if login_server is None:
        try:
            prefs = local(socket).get("prefs")
        except ApiError as error:
            fail(str(error))
        login_server, pinned = prefs["ControlURL"], prefs["ServerKey"]
    if not login_server:
        fail("which server? Give --login-server URL")
    try:
        asyncio.run(_connect(check_url(login_server), pinned))
    except ConnectionError as error:
        fail(str(error))


async def _connect(url: str, pinned: str) -> None:
    """`pinned`: the invite's Noise key, which counts more than a certificate. Raises ConnectionError with one line."""
    import asyncio
    import os

    from ginnel.core.node.control_url import legs
    from ginnel.core.node.login import CAPABILITY_VERSION
    from ginnel.core.node.routing import MARK
    from ginnel.shell.node.control_connection import ControlError
    from ginnel.shell.node.control_dial import open_connection
    from ginnel.shell.node.dial import unverified
    from ginnel.shell.node.web import WebError, fetch
    from ginnel.wire.read import WireError
    from ginnel.wire.tailcfg import ServerKeys, decode
    from ginnel.words import MachinePrivate

    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{(time.monotonic() - began) * 1000:7.1f} ms  {line}", flush=True)

    try:
        async with asyncio.timeout(15):
            say(f"capability version {CAPABILITY_VERSION}, GET {url}/key")
            trust = unverified() if pinned else None
            page = await fetch("GET", f"{url}/key?v={CAPABILITY_VERSION}", mark=MARK, tls=trust)
            key = decode(ServerKeys, page.body).public_key
            say(f"the server's Noise key is {key}" + (", as the invite says" if str(key) == pinned else ""))
            if pinned and str(key) != pinned:
                raise ConnectionError(f"{url}: the server's key is not the invite's: somebody stands between")
            say("dialing " + ", then ".join(f"{leg} ({'TLS' if leg.tls else 'plain'})" for leg in legs(url)))
            connection = await open_connection(url, MachinePrivate(os.urandom(32)), key, mark=MARK)
            say("Noise handshake done, HTTP/2 is up")
            status, _ = await connection.request("GET", "/machine/whoami", b"")
            say(f"GET /machine/whoami: HTTP {status}")
            connection.close()
            say("all good")
    except (WebError, ControlError, WireError, TimeoutError) as error:
        raise ConnectionError(f"{url}: {error or 'no answer within 15 s'}") from None
