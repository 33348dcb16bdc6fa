"""`ginnel status`: one line for each machine (tailscale: cmd/tailscale/cli/status.go).

Room: cli. Nothing heavy is imported, not even click: the budget is 80 ms with the interpreter's start.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ginnel.cli.local import ApiError, fail, local, plain

HEADER = ("IP", "Hostname", "Owner", "OS", "Status")
Row = tuple[str, str, str, str, str]


class Wish(NamedTuple):
    """What the command line says."""

    as_json: bool = False
    active: bool = False
    peers: bool = True
    itself: bool = True
    header: bool = False
    socket: str | None = None


FLAGS: dict[str, tuple[str, bool]] = {
    "--json": ("as_json", True),
    "--active": ("active", True),
    "--peers": ("peers", True),
    "--no-peers": ("peers", False),
    "--self": ("itself", True),
    "--no-self": ("itself", False),
    "--header": ("header", True),
}


def plain_wish(words: list[str]) -> Wish | None:
    """The wish of a command line of whole flags; None where there is anything else, which click then explains."""
    said: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        if word in FLAGS:
            field, value = FLAGS[word]
            said[field] = value
        elif word == "--socket" and (path := next(rest, "")):
            said["socket"] = path
        else:
            return None
    return Wish(**said)


def show(wish: Wish) -> None:
    """Ask the daemon and print. Ends with status 1 where the node does not run."""
    try:
        got = local(wish.socket).get("status" if wish.peers else "status?peers=false")
    except ApiError as error:
        fail(str(error))
    if wish.as_json:
        sys.stdout.write(json.dumps(got, indent=2, ensure_ascii=False))
        return
    refused = not_running(got)
    if refused:
        print(refused)
        sys.exit(1)
    for line in render(
        got, now=datetime.now(UTC), active=wish.active, peers=wish.peers, itself=wish.itself, header=wish.header
    ):
        print(line)


def not_running(got: dict[str, Any]) -> str:
    """What stands in the way, or "" where the node runs."""
    match got["BackendState"]:
        case "Running" | "Starting":
            return ""
        case "Stopped":
            return "ginnel is stopped: `sudo ginnel up` starts it."
        case "NeedsLogin" | "NoState":
            url = got.get("AuthURL")
            problem = "".join(f"\n# {plain(line)}" for line in got.get("Health") or [])
            do = f"\nLog in at: {plain(url)}" if url else " `sudo ginnel up --invite TOKEN` logs in."
            return "Logged out." + do + problem
        case "NeedsMachineAuth":
            return "The machine waits for an admin of the mesh to approve it."
        case other:
            return f"unexpected state: {plain(str(other))}"


def render(got: dict[str, Any], *, now: datetime, active: bool, peers: bool, itself: bool, header: bool) -> list[str]:
    """The lines of `ginnel status`."""
    rows = table(got, now=now, active=active, peers=peers, itself=itself, header=header)
    return columns(rows) + health_lines(got.get("Health") or [])


def table(got: dict[str, Any], *, now: datetime, active: bool, peers: bool, itself: bool, header: bool) -> list[Row]:
    """The rows, as names and words came: from other machines."""
    suffix = got.get("MagicDNSSuffix") or ""
    users = got.get("User") or {}
    rows: list[Row] = []
    if header:
        rows += [HEADER, tuple("-" * len(name) for name in HEADER)]  # type: ignore[list-item]
    machines = [(got["Self"], True)] if itself and got.get("Self") else []
    if peers:
        machines += [(peer, False) for peer in sorted((got.get("Peer") or {}).values(), key=_order)]
    for machine, is_self in machines:
        if machine.get("ShareeNode") or (active and not is_self and not machine["Active"]):
            continue
        rows.append(_row(machine, suffix, users, now))
    return rows


def _order(peer: dict[str, Any]) -> tuple[str, str, str]:
    return (peer.get("DNSName") or "", peer.get("HostName") or "", (peer.get("TailscaleIPs") or [""])[0])


def _row(machine: dict[str, Any], suffix: str, users: dict[str, Any], now: datetime) -> Row:
    address = (machine.get("TailscaleIPs") or ["-"])[0]
    return (address, host_name(machine, suffix), _owner(machine, users), machine.get("OS") or "-", state(machine, now))


def host_name(machine: dict[str, Any], suffix: str) -> str:
    """The DNS name within the mesh; a machine without one shows its host name in quotes and parentheses."""
    name: str = (machine.get("DNSName") or "").rstrip(".")
    if not name:
        return f'("{machine.get("HostName") or ""}")'
    short = name.removesuffix("." + suffix.rstrip(".")) if suffix else name
    return short + _decoded(short)


def _decoded(name: str) -> str:
    if not name.startswith("xn--"):
        return ""
    try:
        return f" ({name.encode('ascii').decode('idna')})"
    except UnicodeError:
        return ""


def _owner(machine: dict[str, Any], users: dict[str, Any]) -> str:
    user_id = machine.get("AltSharerUserID") or machine.get("UserID") or 0
    if not user_id:
        return "-"
    login = (users.get(str(user_id)) or {}).get("LoginName")
    if not login:
        return str(user_id)
    before, at, _ = str(login).partition("@")
    return before + at


def state(machine: dict[str, Any], now: datetime) -> str:
    """The last column."""
    offline = "" if machine["Online"] else "offline" + _last_seen(machine, now)
    traffic = bool(machine["TxBytes"] or machine["RxBytes"])
    if machine["Active"]:
        text = "active; " + _exit_node(machine, "; ") + _path(machine)
    elif machine.get("ExitNode") or machine.get("ExitNodeOption"):
        text = "idle; " + _exit_node(machine, "")
    elif traffic:
        text = "idle"
    else:
        return offline or "-"
    if offline:
        text += "; " + offline
    return text + (f", tx {machine['TxBytes']} rx {machine['RxBytes']}" if traffic else "")


def _exit_node(machine: dict[str, Any], end: str) -> str:
    if machine.get("ExitNode"):
        return "exit node" + end
    return "offers exit node" + end if machine.get("ExitNodeOption") else ""


def _path(machine: dict[str, Any]) -> str:
    if machine.get("PeerRelay"):
        return f"peer-relay {machine['PeerRelay']}"
    if machine.get("CurAddr"):
        return f"direct {machine['CurAddr']}"
    if machine.get("PathPolicy") == "direct":
        return "no direct path, and relays are forbidden for it (`ginnel path`)"
    return f'relay "{machine["Relay"]}"' if machine.get("Relay") else "no path yet"


def _last_seen(machine: dict[str, Any], now: datetime) -> str:
    seen = machine.get("LastSeen") or ""
    if not seen or seen.startswith("0001-"):
        return ""
    try:
        minutes = max(1, int((now - datetime.fromisoformat(seen)).total_seconds() // 60))
    except ValueError:
        return ""
    if minutes < 60:
        return f", last seen {minutes}m ago"
    return f", last seen {minutes // 60}h ago" if minutes < 24 * 60 else f", last seen {minutes // 1440}d ago"


def columns(rows: list[Row]) -> list[str]:
    """Cells without control characters, at least two blanks between columns, also behind the last."""
    clean = [tuple(plain(cell) for cell in row) for row in rows]
    widths = [max(len(row[i]) for row in clean) for i in range(len(HEADER))] if clean else []
    return ["".join(cell.ljust(width + 2) for cell, width in zip(row, widths, strict=True)) for row in clean]


def health_lines(health: list[str]) -> list[str]:
    return ["", "# Health check:", *(f"#     - {plain(line)}" for line in health)] if health else []
