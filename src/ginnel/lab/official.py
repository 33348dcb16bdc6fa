"""What Tailscale's own commands say of a mesh that is ours: each answer is a check.

Room: lab. Whatever they complain of is taken for our fault, but for what they say of every mesh like the lab's: one
relay, no IPv6, a certificate that the DERP map pins (their `debug derp` takes the pin for a host name).
"""

from __future__ import annotations

import json
import re
from typing import Any

from ginnel.core.control.attributes import NO_CAPTIVE_PORTAL_DETECTION
from ginnel.lab import LabError
from ginnel.lab.daemon import OfficialDaemon
from ginnel.lab.members import START_LIMIT, GinnelNode, ginnel
from ginnel.lab.mesh import Mesh
from ginnel.lab.processes import until
from ginnel.lab.report import Path
from ginnel.lab.scenario import Expect
from ginnel.lab.talk import Note
from ginnel.lab.traffic import Conversation

BACK = bytes(range(256)) * 4096  # 1 MiB
BACK_LIMIT = 20.0
GONE_LIMIT = 5.0
REGION = "900"
VENDOR = ("tailscale.com", "tailscale.io")
OF_EVERY_SUCH_MESH = re.compile(
    r"over IPv6: |upgrading connection to node .* remote error: tls: illegal parameter|Having only a single DERP region"
)
COMPLAINT = re.compile(
    r"\b(bad|invalid|malformed|unexpected|unknown|unmarshal\w*|decode|decoding|panic|mismatch|refused to|failed)\b",
    re.I,
)
OF_ITS_MACHINE = re.compile(  # what it also says with its own servers, on a machine like the lab's hosts
    r"TPM: error|logpolicy|tailscaled\.log\.conf|SetCachePath|ret=direct|\[RATELIMIT\]|dns udp query|getsockopt"
)


def looks_relayed(mesh: Mesh, expect: Expect, note: Note) -> None:
    ping_both_ways(mesh, expect, "relay", note)
    row = row_of(mesh.daemons[expect.b], expect.a, "status-relay")
    note("its-status-relay", 'active; relay "own"' in row, row)


def looks_direct(mesh: Mesh, expect: Expect, note: Note) -> None:
    ours, official = mesh.ours[expect.a], mesh.daemons[expect.b]
    way = official.way_to(ours.address)
    row = row_of(official, expect.a, "status-direct")
    note("its-status-direct", f"active; direct {way.endpoint}" in row and way.endpoint != "", row)
    ping_both_ways(mesh, expect, "direct", note)
    comes_back(mesh, expect, note)
    for check in (whois, health, netcheck, relay_report, control_report, own_log):
        check(mesh, ours, official, note)


def ping_both_ways(mesh: Mesh, expect: Expect, path: Path, note: Note) -> None:
    """One disco ping each, and each names the way that it took: the relay, or the other's endpoint."""
    ours, official = mesh.ours[expect.a], mesh.daemons[expect.b]
    theirs = official.ask(f"ping-{path}", "ping", "-c", "1", "--until-direct=false", ours.address)
    mine = ginnel(mesh.lab, ours.name, f"ping-{path}", "ping", "-c", "1", "--no-until-direct", official.address)
    mine.wait(START_LIMIT)
    ways = official.way_to(ours.address), ours.way_to(official.address)
    for name, asked, way in (("its-ping", theirs, ways[0]), ("our-ping", mine, ways[1])):
        via = "via DERP(own) " if path == "relay" else f"via {way.endpoint} "
        said = asked.said().strip()
        note(f"{name}-{path}", asked.ended() == 0 and way.path == path and via in said, said)


def row_of(official: OfficialDaemon, peer: str, name: str) -> str:
    """The peer's line in `tailscale status`."""
    said = official.ask(name, "status").said()
    return next((" ".join(line.split()) for line in said.splitlines() if peer in line.split()), said.strip())


def comes_back(mesh: Mesh, expect: Expect, note: Note) -> None:
    """A TCP connection that the official side opens."""
    spaces, address = mesh.lab.spaces, mesh.ours[expect.a].address
    try:
        with Conversation(spaces[expect.b], spaces[expect.a], address, BACK_LIMIT) as talk:
            took = talk.send_and_wait(BACK, BACK_LIMIT)
            note("tcp-from-official", talk.intact(), f"{len(BACK)} bytes to {address} in {took:.2f} s")
    except LabError as error:
        note("tcp-from-official", False, str(error))


def whois(mesh: Mesh, ours: GinnelNode, official: OfficialDaemon, note: Note) -> None:  # noqa: ARG001
    found = json_of(official, "whois", "whois", "--json", ours.address)
    name, user = found.get("Node", {}).get("Name", ""), found.get("UserProfile", {}).get("LoginName", "")
    note("whois", (name, user) == (f"{ours.name}.mesh.internal.", "default"), f"{ours.address} is {name} of {user}")


def health(mesh: Mesh, ours: GinnelNode, official: OfficialDaemon, note: Note) -> None:  # noqa: ARG001
    status = official.status_by_command()
    ill = [*status.get("Health", []), *([] if status.get("BackendState") == "Running" else ["not running"])]
    note("health", not ill, "; ".join(ill) or f"{status.get('Version')} is {status.get('BackendState')}, no warnings")


def netcheck(mesh: Mesh, ours: GinnelNode, official: OfficialDaemon, note: Note) -> None:  # noqa: ARG001
    found = json_of(official, "netcheck", "netcheck", "--format", "json")
    mapped, outside = str(found.get("GlobalV4", "")), mesh.outside(official.name)
    fine = found.get("UDP") is True and str(found.get("PreferredDERP")) == REGION and mapped.startswith(f"{outside}:")
    captive = found.get("CaptivePortal")
    note("netcheck", fine and not captive, f"region {found.get('PreferredDERP')}, {mapped}, captive portal {captive}")


def relay_report(mesh: Mesh, ours: GinnelNode, official: OfficialDaemon, note: Note) -> None:  # noqa: ARG001
    found = json_of(official, "debug-derp", "debug", "derp", REGION)
    lines = [*(found.get("Warnings") or []), *(found.get("Errors") or [])] if found else ["no answer"]
    ours_to_mend = [line for line in lines if not OF_EVERY_SUCH_MESH.search(line)]
    note("debug-derp", not ours_to_mend, "; ".join(ours_to_mend) or f"{len(lines)} lines, all of them expected")


def control_report(mesh: Mesh, ours: GinnelNode, official: OfficialDaemon, note: Note) -> None:  # noqa: ARG001
    host = mesh.server.url.removeprefix("https://")
    asked = official.ask("debug-ts2021", "debug", "ts2021", "--host", host)
    said = asked.said()
    last = said.strip().splitlines()[-1] if said.strip() else "it said nothing"
    note("debug-ts2021", asked.ended() == 0 and "did noise handshake" in said and "whoami response" in said, last)


def vendor_silence(mesh: Mesh, ours: GinnelNode, official: OfficialDaemon, note: Note) -> None:  # noqa: ARG001
    if mesh.names is None:
        return
    wanted = mesh.names.below(*VENDOR)
    told = json_of(official, "debug-netmap", "debug", "netmap").get("SelfNode", {}).get("CapMap") or {}
    words = ", ".join(wanted) or f"not asked for among {sum(mesh.names.asked.values())} names"
    words += "" if NO_CAPTIVE_PORTAL_DETECTION in told else "; it may look for captive portals there"
    note("asks-no-vendor", not wanted and NO_CAPTIVE_PORTAL_DETECTION in told, words)


def own_log(mesh: Mesh, ours: GinnelNode, official: OfficialDaemon, note: Note) -> None:  # noqa: ARG001
    said = official.daemon.said().splitlines() if official.daemon is not None else []
    odd = [line for line in said if COMPLAINT.search(line) and not OF_ITS_MACHINE.search(line)]
    note("daemon-log", not odd and len(said) > 0, " | ".join(odd[:5]) or f"{len(said)} lines, no complaint")


def leaves(mesh: Mesh, expect: Expect, note: Note) -> None:
    """After all that it asked for nobody it should not; and once logged out there, it is gone here."""
    ours, official = mesh.ours[expect.a], mesh.daemons[expect.b]
    vendor_silence(mesh, ours, official, note)
    asked = official.ask("logout", "logout")
    state = (official.status() or {}).get("BackendState")
    note("logout", asked.ended() == 0 and state == "NeedsLogin", f"{official.name} is {state}")
    try:
        until(lambda: has_left(ours, official.address), GONE_LIMIT, f"{ours.name} to hear of it")
    except LabError as error:
        note("logout-is-told", False, str(error))
    else:
        note("logout-is-told", True, f"{ours.name} calls its key expired")


def has_left(ours: GinnelNode, address: str) -> bool | None:
    """Its peers are told at once that its key is good for nothing; that it is offline, after a grace."""
    peers = ((ours.status() or {}).get("Peer") or {}).values()
    return any(peer.get("Expired") for peer in peers if address in (peer.get("TailscaleIPs") or [])) or None


def json_of(official: OfficialDaemon, name: str, *words: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(official.ask(name, *words).said_now())
    except ValueError:
        return {}
    return found
