"""Where relays come from when it is not the daemon: `--server URL|INVITE`, `--pin`, `--derp-map FILE|URL`.

Room: cli.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ginnel.cli.local import fail

PIN = re.compile(r"sha256-raw:[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Named:
    """What the command line names. `server`: a URL without a final slash, or ""; `pin`: of the certificate there."""

    server: str = ""
    derp_map: str = ""
    pin: str = ""


def named(server: str, derp_map: str, pin: str) -> Named:
    """Checked: an invite is read, its pin taken. Ends the command with one line where it makes no sense."""
    from ginnel.cli.up import check_url, read_invite

    if pin and not PIN.fullmatch(pin):
        fail(f"--pin {pin!r} is no pin: expected sha256-raw: and 64 hexadecimal digits")
    if derp_map and server:
        fail("--derp-map and --server both name the relays: give one of them")
    if server.startswith("ginnel-invite"):
        invite = read_invite(server)
        found = Named(invite.url, "", pin or (f"sha256-raw:{invite.pin.hex()}" if invite.pin else ""))
    elif server:
        found = Named(check_url(server, "--server"), "", pin)
    else:
        found = Named("", derp_map, pin)
    if pin and not (found.server or found.derp_map).startswith("https://"):
        fail("--pin is about the certificate of an https address: give that by --server or --derp-map")
    return found
