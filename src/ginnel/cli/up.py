"""`ginnel up`: ask the daemon to join, say in plain words what it waits for, end when it runs or cannot.

Room: cli.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ginnel.cli.local import ApiError, Local, fail, plain

if TYPE_CHECKING:
    from ginnel.wire.invite import Invite

PATIENCE = 6.0
"""A server that has never answered this machine gets so many seconds; later the daemon itself keeps trying."""

POLL = 1.0

DAEMON_START = 10.0
"""A daemon that does not listen yet gets so many seconds."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line says; None: not mentioned."""

    login_server: str | None = None
    auth_key: str = field(default="", repr=False)
    invite: str | None = field(default=None, repr=False)
    hostname: str | None = None
    accept_routes: bool | None = None
    advertise_tags: str | None = None
    port_mapping: bool | None = None
    path: str | None = None
    force_reauth: bool = False
    reset: bool = False


def bring_up(api: Local, wish: Wish, timeout: float) -> None:
    """Returns when the node runs; ends the command with one line when that fails."""
    api.wait_for_daemon(DAEMON_START)
    try:
        before = api.get("prefs")
        wanted, auth_key = wishes(before, wish)
        api.post("start", {"AuthKey": auth_key, "ForceReauth": wish.force_reauth, "UpdatePrefs": wanted})
    except ApiError as error:
        fail(str(error))
    why = wait(api, wanted["ControlURL"], timeout)
    if why is not None:
        _withdraw(api, before)
        fail(why)


def wishes(before: dict[str, Any], wish: Wish) -> tuple[dict[str, Any], str]:
    """The prefs to set and the auth key to use. What is not mentioned stays, or is default after `--reset`."""
    prefs = dict(before)
    if wish.reset:
        prefs |= {
            "Hostname": "",
            "RouteAll": False,
            "AdvertiseTags": [],
            "PathPolicy": "auto",
            "PathPolicies": {},
            "NoPortMapping": False,
        }
    prefs |= {"WantRunning": True, "LoggedOut": False}
    auth_key = read_auth_key(wish.auth_key)
    if wish.invite is not None:
        invite = read_invite(wish.invite)
        auth_key = invite.auth_key
        pin = (invite.pin or b"").hex()
        prefs |= {"ControlURL": invite.url, "ServerKey": str(invite.server_key), "ServerPin": pin}
    elif wish.login_server is not None:
        url = check_url(wish.login_server)
        if url != before["ControlURL"]:
            prefs |= {"ControlURL": url, "ServerKey": "", "ServerPin": ""}
    if not prefs["ControlURL"]:
        fail("which server? Give --invite TOKEN, or --login-server URL with --auth-key KEY")
    if wish.hostname is not None:
        prefs["Hostname"] = wish.hostname
    if wish.accept_routes is not None:
        prefs["RouteAll"] = wish.accept_routes
    if wish.port_mapping is not None:
        prefs["NoPortMapping"] = not wish.port_mapping
    if wish.advertise_tags is not None:
        prefs["AdvertiseTags"] = check_tags(wish.advertise_tags)
    if wish.path is not None:
        prefs["PathPolicy"] = wish.path
    return prefs, auth_key


def read_auth_key(text: str) -> str:
    """`file:PATH` keeps the key out of the list of processes."""
    if not text.startswith("file:"):
        return text
    try:
        with open(text.removeprefix("file:"), encoding="ascii") as file:  # noqa: PTH123
            return file.read(4096).strip()
    except (OSError, UnicodeDecodeError):
        return fail(f"cannot read the auth key from {text}")


def read_invite(text: str) -> Invite:
    from ginnel.wire.invite import parse_invite
    from ginnel.wire.read import WireError

    try:
        return parse_invite(text)
    except WireError as error:
        return fail(f"this invite cannot be used: {error}; ask for a new one")


def check_url(text: str, option: str = "--login-server") -> str:
    url = (text if "://" in text else "https://" + text).rstrip("/")
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    return url if good else fail(f"{option} {text!r} is no address of a server: expected https://HOST[:PORT]")


def check_tags(text: str) -> list[str]:
    tags = [tag for tag in text.split(",") if tag]
    for tag in tags:
        name = tag.removeprefix("tag:")
        if name == tag or not name.replace("-", "").isalnum() or not name.isascii():
            fail(f"--advertise-tags: {tag!r} is no tag; expected tag:NAME, in letters, digits and dashes")
    return tags


def wait(api: Local, url: str, timeout: float) -> str | None:
    """Follow the daemon until the node runs: None, or in one line why it does not."""
    started = time.monotonic()
    progress = Progress(url)
    for event in _events(api):
        elapsed = time.monotonic() - started
        over = progress.take(event, elapsed)
        if over is not None:
            return over or None
        if timeout and elapsed >= timeout:
            return f"still not up after {timeout:g} s: {progress.last}"
    return "the daemon stopped answering; look at its log"


def _events(api: Local) -> Iterator[dict[str, Any]]:
    """The daemon repeats the last event each second, so that a deadline is noticed without one."""
    try:
        yield from api.stream("watch-ipn-bus", timeout=10 * POLL)
    except ApiError as error:
        fail(str(error))
    except TimeoutError:
        return


@dataclass(slots=True)
class Progress:
    """Turns the daemon's events into lines, each said once."""

    url: str
    last: str = "nothing was heard from the server yet"
    shown: str = ""
    unreached_since: float | None = None

    def take(self, event: dict[str, Any], elapsed: float) -> str | None:
        """None: go on; "": it runs; else why it will not."""
        if event["State"] == "Running":
            return ""
        if event["Refused"]:
            return f"{self.url} refused this machine: {plain(event['Refused'])}{advice(event['Refused'])}"
        if event["State"] == "NeedsMachineAuth":
            self._say("The machine waits for an admin of the mesh to approve it.")
        elif event["AuthURL"]:
            self._say(f"\nTo authenticate, visit:\n\n\t{plain(event['AuthURL'])}\n")
        elif event["Problem"]:
            self._unreached(event, elapsed)
            return self._patience(event, elapsed)
        elif event["State"] == "Starting":
            self._say("Logged in; looking for the nearest relay ...")
        else:  # asking, perhaps once more
            return self._patience(event, elapsed)
        self.unreached_since = None
        return None

    def _unreached(self, event: dict[str, Any], elapsed: float) -> None:
        self.last = plain(event["Problem"])
        if self.unreached_since is None:
            self.unreached_since = elapsed
            self._say(f"{self.last}; trying again ...")

    def _patience(self, event: dict[str, Any], elapsed: float) -> str | None:
        """None while it lasts."""
        if event["EverAccepted"] or self.unreached_since is None or elapsed - self.unreached_since < PATIENCE:
            return None
        return f"cannot log in at {self.url}: {self.last}; {remedy(self.last)}"

    def _say(self, line: str) -> None:
        if line != self.shown:
            print(line, flush=True)
            self.shown = self.last = line


def remedy(problem: str) -> str:
    if "certificate" in problem:
        return "join by an invite, which names the server's key, or give the server a certificate that is trusted here"
    return "check the address, and that the server runs"


def advice(refusal: str) -> str:
    text = refusal.lower()
    if "key" in text and any(word in text for word in ("auth", "invite")):
        return "; ask for a new invite or auth key"
    return ""


def _withdraw(api: Local, before: dict[str, Any]) -> None:
    """A first login that failed leaves nothing behind: the daemon goes back to what it was told before."""
    try:
        now = api.get("status?peers=false")
        if now["HaveNodeKey"]:
            return
        api.patch("prefs", before | {f"{name}Set": True for name in before})
    except ApiError:
        return  # the line about the login itself is the one worth reading
