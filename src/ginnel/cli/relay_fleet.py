"""`ginnel relay list|add|remove|drain|undrain|probe|region|map|token`: what an admin says to the server of its relays.

Room: cli.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from ginnel.cli.admin import ask, common, seconds, show, table

WATCH_EVERY = 1.0


class _Number(click.FloatRange):
    """In a range that has ends: what is no number lies in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number.", param, ctx)
        return number


LATITUDE, LONGITUDE, SCORE = _Number(-90, 90), _Number(-180, 180), _Number(0, 1000)


def add_verbs(group: click.Group) -> None:
    for command in (relay_list, add, remove, drain, undrain, probe, region, relay_map, token):
        group.add_command(command)


# --- tokens ------------------------------------------------------------------------------------------------------


@click.group()
def token() -> None:
    """Tokens by which relays on other machines join this server's fleet."""


@token.command("create")
@click.option("--region", type=int, required=True, help="Region number; 900 to 999 are left to private relays.")
@click.option("--code", default="", help="Short code of a new region, such as fra.")
@click.option("--name", default="", help="Its name, such as Frankfurt.")
@click.option("--lat", type=LATITUDE, default=0.0, help="Latitude.")
@click.option("--lon", type=LONGITUDE, default=0.0, help="Longitude.")
@click.option("-e", "--expiration", default="1h", show_default=True, help="How long the token is good for.")
@common
def token_create(  # noqa: PLR0917
    region: int, code: str, name: str, lat: float, lon: float, expiration: str,
    state: str | None, as_json: bool, output: str | None,
) -> None:  # fmt: skip
    """Make a token, good for one relay; it is shown once."""
    arguments = {
        "region": region,
        "code": code,
        "name": name,
        "latitude": lat,
        "longitude": lon,
        "expiration": seconds(expiration),
    }
    show(ask(state, "relay.token.create", arguments), as_json, output, lambda made: print(made["token"]))


@token.command("list")
@common
def token_list(state: str | None, as_json: bool, output: str | None) -> None:
    """Show tokens by their prefix; the tokens themselves are kept nowhere."""

    def plain(listed: list[dict[str, Any]]) -> None:
        head = ["ID", "PREFIX", "REGION", "USED", "REVOKED", "EXPIRATION"]
        table(head, [[t[name.lower()] for name in head] for t in listed])

    show(ask(state, "relay.token.list", {}), as_json, output, plain)


@token.command("revoke")
@click.argument("token_id", metavar="TOKEN")
@common
def token_revoke(token_id: str, state: str | None, as_json: bool, output: str | None) -> None:
    """Take a token back, by its number or prefix."""
    show(ask(state, "relay.token.revoke", {"token": token_id}), as_json, output, lambda _: print("Token revoked."))


# --- relays ------------------------------------------------------------------------------------------------------


def _relays_table(listed: list[dict[str, Any]]) -> None:
    head = ["NAME", "REGION", "HOST", "IPV4", "IPV6", "STATE", "CLIENTS", "KIND", "WHY"]
    rows = [
        (r["name"], r["region_code"] or r["region"], r["host"], r["ipv4"], r["ipv6"], _state(r), r["clients"],
         r["kind"], r["why"])
        for r in listed
    ]  # fmt: skip
    table(head, rows)


def _state(relay: dict[str, Any]) -> str:
    left = relay["drain_seconds_left"]
    return f"{relay['state']} ({left} s left)" if left is not None else str(relay["state"])


@click.command("list")
@common
def relay_list(state: str | None, as_json: bool, output: str | None) -> None:
    """Show the relays of the fleet."""
    listed = ask(state, "relay.list", {})
    show(listed, as_json, output, _relays_table)
    for line in _troubles(ask(state, "relay.status", {})):
        print(f"ginnel relay: {line}", file=sys.stderr)


def _troubles(status: dict[str, Any]) -> list[str]:
    """Of the fleet as a whole."""
    maps = [f"the DERP map {extra['source']} cannot be read, {_kept(extra)}: {extra['error']}"
            for extra in status["extra_maps"] if extra["error"]]  # fmt: skip
    return [*status["health"], *maps]


def _kept(extra: dict[str, Any]) -> str:
    return f"its last {extra['regions']} regions stay" if extra["regions"] else "it adds no region"


@click.command("add")
@click.argument("host")
@click.option("--region", type=int, required=True, help="Region number.")
@click.option("--code", default="", help="Short code of a new region.")
@click.option("--name", default="", help="Its name.")
@click.option("--key", default="", help="The relay's nodekey:...; without it the first one seen is kept.")
@click.option("--cert-name", default="", help="Name in its certificate, or sha256-raw: and 64 hex digits.")
@click.option("--ipv4", default="", help="Its IPv4 address, instead of asking DNS; none: it has none.")
@click.option("--ipv6", default="", help="Its IPv6 address.")
@click.option("--port", type=int, default=0, help="TCP port, if not 443.")
@click.option("--stun-port", type=int, default=0, help="UDP port, if not 3478; -1: no STUN.")
@click.option("--port80/--no-port80", default=False, help="Whether it answers /generate_204 on TCP 80.")
@common
def add(  # noqa: PLR0917
    host: str, region: int, code: str, name: str, key: str, cert_name: str, ipv4: str, ipv6: str, port: int,
    stun_port: int, port80: bool, state: str | None, as_json: bool, output: str | None,
) -> None:  # fmt: skip
    """Add a relay that somebody else runs and that cannot join by a token, such as derper."""
    arguments = {
        "host": host, "region": region, "code": code, "name": name, "key": key, "cert_name": cert_name, "ipv4": ipv4,
        "ipv6": ipv6, "port": port, "stun_port": stun_port, "can_port80": port80,
    }  # fmt: skip
    answer = ask(state, "relay.add", arguments)
    show(answer, as_json, output, lambda r: print(f"Relay {r['name']} is added; it enters the map once it answers."))


@click.command("remove")
@click.argument("relay")
@click.option("--force", is_flag=True, help="Also when no other relay is left.")
@common
def remove(relay: str, force: bool, state: str | None, as_json: bool, output: str | None) -> None:
    """Take a relay out of the fleet for good, or all of a region."""
    answer = ask(state, "relay.remove", {"relay": relay, "force": force})
    show(answer, as_json, output, lambda gone: print("\n".join(f"Relay {r['name']} removed." for r in gone)))


@click.command("drain")
@click.argument("relay")
@click.option("--deadline", default="10m", show_default=True, help="When it goes out of use in any case.")
@click.option("--wait", is_flag=True, help="Show the progress until it is done.")
@click.option("--force", is_flag=True, help="Also when no other relay is left.")
@common
def drain(  # noqa: PLR0917
    relay: str, deadline: str, wait: bool, force: bool, state: str | None, as_json: bool, output: str | None
) -> None:
    """Let the clients of a relay, or of a region's relays, move elsewhere; then take it out of the map."""
    answer = ask(state, "relay.drain", {"relay": relay, "deadline": seconds(deadline), "force": force})
    if wait:
        answer = _watch(relay, {r["name"] for r in answer}, state)
    show(answer, as_json, output, lambda rs: print("\n".join(f"Relay {r['name']} is {_state(r)}." for r in rs)))


def _watch(relay: str, names: set[str], state: str | None) -> list[dict[str, Any]]:
    """Until all are drained; a line on each change, on standard error."""
    said = ""
    while True:
        relays = [r for r in ask(state, "relay.list", {}) if r["name"] in names]
        line = ", ".join(f"{r['name']} {_state(r)}, {r['clients'] or 0} clients" for r in relays)
        plain = ", ".join(f"{r['name']} {r['state']} {r['clients']}" for r in relays)
        if plain != said:
            said = plain
            print(f"ginnel relay: {line}", file=sys.stderr)
        if all(r["state"] == "drained" for r in relays):
            return relays
        if not any(r["state"] in ("draining", "drained") for r in relays):
            raise click.ClickException(f"the drain of {relay} was taken back")
        time.sleep(WATCH_EVERY)


@click.command("undrain")
@click.argument("relay")
@common
def undrain(relay: str, state: str | None, as_json: bool, output: str | None) -> None:
    """Use a drained relay again."""
    answer = ask(state, "relay.undrain", {"relay": relay})
    show(answer, as_json, output, lambda rs: print("\n".join(f"Relay {r['name']} is {_state(r)}." for r in rs)))


@click.command("probe")
@click.argument("relay", default="")
@common
def probe(relay: str, state: str | None, as_json: bool, output: str | None) -> None:
    """Look at the relays from the server as a client would: a row for each address and port."""
    looks = ask(state, "relay.probe", {"relay": relay})
    show(looks, as_json, output, _probe_table)
    if not all(look["good"] for look in looks):
        bad = [f"{look['name']}: {look['why']}" for look in looks if not look["good"]]
        raise click.ClickException("not fit for the map: " + "; ".join(bad))


def _probe_table(looks: list[dict[str, Any]]) -> None:
    rows: list[Sequence[Any]] = []
    for look in looks:
        for found in look["findings"]:
            milliseconds = f"{found['seconds'] * 1000:.0f} ms" if found["result"] == "good" else ""
            where = (found["address"], f"{'UDP' if found['service'] == 'STUN' else 'TCP'} {found['port']}")
            rows.append((look["name"], f"IPv{found['family']}", *where, found["service"], found["result"], milliseconds,
                         found["detail"]))  # fmt: skip
        if not look["findings"]:
            rows.append((look["name"], "", look["host"], "", "", "failed", "", look["why"]))
    table(["RELAY", "FAMILY", "ADDRESS", "PORT", "SERVICE", "RESULT", "TIME", "DETAIL"], rows)


# --- regions and the map -----------------------------------------------------------------------------------------


@click.command("region")
@click.argument("number", type=int)
@click.option("--code", help="Its short code.")
@click.option("--name", help="Its name.")
@click.option("--lat", type=LATITUDE, help="Latitude.")
@click.option("--lon", type=LONGITUDE, help="Longitude.")
@click.option("--score", type=SCORE, help="Factor on clients' latency: below 1 favours it; 0 takes it back.")
@click.option("--avoid/--no-avoid", default=None, help="Whether clients should rather choose another home.")
@click.option("--no-home/--home", default=None, help="Whether no client may choose it as home.")
@click.option("--hide/--show", default=None, help="Whether it is left out of the map.")
@common
def region(  # noqa: PLR0917
    number: int, code: str | None, name: str | None, lat: float | None, lon: float | None, score: float | None,
    avoid: bool | None, no_home: bool | None, hide: bool | None, state: str | None, as_json: bool, output: str | None,
) -> None:  # fmt: skip
    """Change a region of the map; also one that comes from a file or URL."""
    arguments = {
        "region": number, "code": code, "name": name, "latitude": lat, "longitude": lon, "score": score,
        "avoid": avoid, "no_home": no_home, "hidden": hide,
    }  # fmt: skip
    show(ask(state, "relay.region", arguments), as_json, output, lambda r: print(f"Region {r['id']} is changed."))


@click.command("map")
@click.option("--full", is_flag=True, help="Before any editing, with all addresses.")
@click.option("--tags", default="", help="As machines with these tags see it: tag:a,tag:b.")
@click.option("-u", "--user", default="", help="As this user's machines see it.")
@common
def relay_map(  # noqa: PLR0917
    full: bool, tags: str, user: str, state: str | None, as_json: bool, output: str | None
) -> None:
    """Print the DERP map as clients are given it (JSON)."""
    arguments = {"full": full, "tags": [tag for tag in tags.split(",") if tag], "user": user}
    _print: Callable[[Any], None] = lambda value: print(json.dumps(value, indent=2, ensure_ascii=False))  # noqa: E731
    show(ask(state, "relay.map", arguments), as_json, output, _print)
