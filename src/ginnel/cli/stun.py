"""`ginnel stun query`: one STUN server, asked as netcheck asks (tailscale: cmd/stunc/stunc.go).

Room: cli.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from ginnel.cli.local import fail, plain
from ginnel.words import Endpoint

if TYPE_CHECKING:
    from ginnel.shell.probe.stun import StunSeen

USUAL_PORT = 3478
WRITTEN = re.compile(r"(?:\[(?P<ip>[0-9a-fA-F:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d{1,5}))?")


@click.group()
def stun() -> None:
    """Ask a STUN server which address and port it sees."""


@stun.command()
@click.argument("server", metavar="HOST[:PORT]")
@click.option("--source-port", type=click.IntRange(0, 65535), default=0, help="Ask from this UDP port.")
@click.option("--json", "as_json", is_flag=True, help="Instead of text.")
def query(*, server: str, source_port: int, as_json: bool) -> None:
    """Ask HOST at each of its addresses, on UDP port 3478 unless another is given. Exit status 0: one answered."""
    import asyncio

    host, port = host_and_port(server)
    found = asyncio.run(_asked(host, port, source_port))
    if as_json:
        print(json.dumps([_members(address, port, seen) for address, seen in found], indent=2))
    else:
        for address, seen in found:
            print(plain(_line(address, port, seen)))
    sys.stdout.flush()
    sys.exit(0 if any(seen.mapped for _, seen in found) else 1)


def host_and_port(text: str) -> tuple[str, int]:
    """`host`, `host:port`, `2001:db8::1`, `[2001:db8::1]:port`. Ends the command where it is none of these."""
    found = WRITTEN.fullmatch(text if text.count(":") < 2 or text.startswith("[") else f"[{text}]")
    port = int((found and found["port"]) or USUAL_PORT)
    if not found or not 0 < port <= 65535:
        fail(f"{text!r} is no STUN server: expected HOST or HOST:PORT, as in stun.example.com:3478")
    return found["ip"] or found["name"], port


async def _asked(host: str, port: int, source_port: int) -> list[tuple[str, StunSeen]]:
    import asyncio

    from ginnel.core.firewall.verdict import classify
    from ginnel.shell.probe.names import NameLooker
    from ginnel.shell.probe.stun import look_at_stun

    named = await NameLooker().look(host)
    if not named.addresses:
        fail(f"{host}: {classify(named.evidence).text}")
    addresses = [str(address) for address in named.addresses]
    seen = await asyncio.gather(*(look_at_stun(one, port, mark=0, source_port=source_port) for one in addresses))
    return list(zip(addresses, seen, strict=True))


def _line(address: str, port: int, seen: StunSeen) -> str:
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    if seen.mapped is not None:
        return f"{where} sees this machine as {seen.mapped} ({seen.seconds * 1000:.1f} ms)"
    return f"{where}: {_problem(seen)}"


def _problem(seen: StunSeen) -> str:
    from ginnel.core.firewall.verdict import classify

    verdict = classify(seen.evidence)
    return f"{verdict.blocking}: {verdict.text}"


def _members(address: str, port: int, seen: StunSeen) -> dict[str, Any]:
    return {
        "Server": str(Endpoint.parse(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")),
        "Mapped": str(seen.mapped or ""),
        "LatencySeconds": round(seen.seconds, 6),
        "Problem": "" if seen.mapped else _problem(seen),
    }
