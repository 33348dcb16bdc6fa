"""Invites: one line of text that carries all a new node needs to join (a format of this project).

Room: wire. Text becomes messages and back. No sockets, clocks, randomness or logs come in.

    ginnel-invite1:<base64url, no padding, of>
        server's Noise key      32 bytes
        flags                   1 byte: bit 0, a certificate pin follows; others are refused
        certificate pin         0 or 32 bytes: SHA-256 over the DER of the server's TLS leaf
        URL                     2 bytes of length, big-endian, UTF-8
        pre-auth key            2 bytes of length, big-endian, ASCII

The Noise key is in it, so that a node that joins by an invite never trusts a first `/key` answer blindly; the pin
is there when no public authority vouches for the certificate.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from ginnel.wire.read import Malformed, Reader
from ginnel.words import KEY_SIZE, MachineKey

PREFIX = "ginnel-invite1:"
PINNED = 1
MAX_TEXT = 4096
_URL = re.compile(r"https?://[!-~]+")
_AUTH_KEY = re.compile(r"[!-~]{1,512}")


@dataclass(frozen=True, slots=True)
class Invite:
    """`url` has no trailing slash. `pin` is 32 bytes or None. The pre-auth key is a secret: it is in no repr."""

    url: str
    server_key: MachineKey
    auth_key: str = field(repr=False)
    pin: bytes | None = None

    def __post_init__(self) -> None:
        if not _URL.fullmatch(self.url) or self.url.endswith("/"):
            raise Malformed("expected the invite's URL as http(s)://host without a trailing slash")
        if not _AUTH_KEY.fullmatch(self.auth_key):
            raise Malformed("expected the invite's pre-auth key in printable characters")
        if self.pin is not None and len(self.pin) != KEY_SIZE:
            raise Malformed(f"expected a pin of {KEY_SIZE} bytes, got {len(self.pin)}")


def encode_invite(invite: Invite) -> str:
    pin = invite.pin or b""
    body = bytes(invite.server_key.raw) + bytes([PINNED if pin else 0]) + pin
    body += _counted(invite.url) + _counted(invite.auth_key)
    return PREFIX + base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def parse_invite(text: str) -> Invite:
    """Read an invite as a person pasted it: white space around it is skipped. Raises WireError."""
    body = Reader(_body(text.strip()))
    server_key = MachineKey(body.take(KEY_SIZE))
    flags = body.u8()
    if flags & ~PINNED:
        raise Malformed("the invite asks for something this version does not know")
    pin = body.take(KEY_SIZE) if flags & PINNED else None
    url, auth_key = _text(body), _text(body)
    if body:
        raise Malformed("the invite has bytes left over")
    if not server_key:
        raise Malformed("the invite lacks the server's key")
    return Invite(url, server_key, auth_key, pin)


def _body(text: str) -> bytes:
    encoded = text.removeprefix(PREFIX)
    if encoded == text or len(text) > MAX_TEXT or not encoded.isascii():
        raise Malformed(f"expected an invite: {PREFIX} and at most {MAX_TEXT} characters")
    try:
        body = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("the invite was cut short or changed on its way") from None
    return body


def _counted(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def _text(body: Reader) -> str:
    try:
        return body.take(body.u16()).decode("ascii")
    except UnicodeDecodeError:
        raise Malformed("the invite was changed on its way") from None
