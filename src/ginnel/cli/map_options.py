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
    """What the command line names. `server`: a URL without a final slash, or ""; `pin`: of the certificate where the
    map is fetched."""

    server: str = ""
    derp_map: str = ""
    pin: str = ""


def named(server: str, derp_map: str, pin: str, *, both: bool = False) -> Named:
    """Checked: an invite is read, its pin taken. `both`: a server whose relays are read from elsewhere makes sense.
    Ends the command with one line where it makes none."""
    from ginnel.cli.up import check_url, read_invite

    if pin and not PIN.fullmatch(pin):
        fail(f"--pin {pin!r} is no pin: expected sha256-raw: and 64 hexadecimal digits")
    if derp_map and server and not both:
        fail("--derp-map and --server both name the relays: give one of them")
    if server.startswith("ginnel-invite"):
        invite = read_invite(server)
        of_invite = f"sha256-raw:{invite.pin.hex()}" if invite.pin and not derp_map else ""
        found = Named(invite.url, derp_map, pin or of_invite)
    else:
        found = Named(check_url(server, "--server") if server else "", derp_map, pin)
    if pin and not (found.derp_map or found.server).startswith("https://"):
        fail("--pin is about the certificate of an https address: give that by --server or --derp-map")
    return found
