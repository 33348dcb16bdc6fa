"""Tokens by which a relay joins a server's fleet: one line of text (a format of this project).

Room: wire. Text becomes messages and back. No sockets, clocks, randomness or logs come in.

    ginnel-relay1:<base64url, no padding, of>
        expiry                  8 bytes, big-endian: seconds since 1970
        the body of an invite   see invite.py; where that has a pre-auth key, this has the one-shot secret
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from ginnel.wire import invite
from ginnel.wire.read import Malformed
from ginnel.words import MachineKey, WallTime

PREFIX = "ginnel-relay1:"
EXPIRY_SIZE = 8


@dataclass(frozen=True, slots=True)
class RelayToken:
    """`url` has no trailing slash. `pin`: SHA-256 of the server's leaf, or None. The secret is in no repr."""

    url: str
    server_key: MachineKey
    expires: WallTime
    secret: str = field(repr=False)
    pin: bytes | None = None


def encode_relay_token(token: RelayToken) -> str:
    carried = invite.Invite(token.url, token.server_key, token.secret, token.pin)
    body = _decoded(invite.encode_invite(carried).removeprefix(invite.PREFIX))
    whole = int(token.expires).to_bytes(EXPIRY_SIZE, "big") + body
    return PREFIX + base64.urlsafe_b64encode(whole).rstrip(b"=").decode()


def parse_relay_token(text: str) -> RelayToken:
    """Read a token as a person pasted it. Raises WireError."""
    encoded = text.strip().removeprefix(PREFIX)
    if encoded == text.strip() or len(encoded) > invite.MAX_TEXT or not encoded.isascii():
        raise Malformed(f"expected a relay's token: {PREFIX} and at most {invite.MAX_TEXT} characters")
    whole = _decoded(encoded)
    body = base64.urlsafe_b64encode(whole[EXPIRY_SIZE:]).rstrip(b"=").decode()
    try:
        carried = invite.parse_invite(invite.PREFIX + body)
    except Malformed as error:
        raise Malformed(str(error).replace("invite", "token")) from None
    expires = WallTime(int.from_bytes(whole[:EXPIRY_SIZE], "big"))
    return RelayToken(carried.url, carried.server_key, expires, carried.auth_key, carried.pin)


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("the token was cut short or changed on its way") from None
