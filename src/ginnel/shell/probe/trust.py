"""How the certificate of a host is judged: by its name and the system's authorities, by a pin, or not at all.

Room: shell. `verify` is what `core/node/names.py` makes of a DERP map: `name:<host>`, `sha256-raw:<hex>`, `insecure`.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from functools import cached_property
from hmac import compare_digest

from ginnel.core.firewall.evidence import Leaf
from ginnel.shell.node.dial import unverified
from ginnel.wire.derpmap import PIN

NAME = "name:"
INSECURE = "insecure"


def _refuse(why: str) -> None:
    error = ssl.SSLCertVerificationError(why)
    error.verify_message = why
    raise error


class Authorities:
    """The system's, read once: that takes 20 ms."""

    @cached_property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context()


@dataclass(frozen=True, slots=True)
class Trust:
    """host: what was asked for. name: what TLS is asked for. pin: "" where an authority, or nobody, vouches."""

    host: str
    name: str
    context: ssl.SSLContext
    pin: str = ""

    @classmethod
    def by(cls, verify: str, host: str, authorities: Authorities) -> Trust:
        if verify.startswith(NAME):
            name = verify.removeprefix(NAME)
            return cls(name, name, authorities.context)
        return cls(host, host, unverified(), verify if verify.startswith(PIN) else "")

    @property
    def pinned(self) -> bool:
        """Whether the map itself says which certificate it is, or that any will do."""
        return self.context.verify_mode is ssl.CERT_NONE

    def check(self, der: bytes, leaf: Leaf | None, now: float) -> None:
        """Of a pinned one the dates count as well, as they do for clients; authorities' are checked by OpenSSL. Raises
        ssl.SSLCertVerificationError."""
        if not self.pin:
            return
        if not compare_digest(PIN + hashlib.sha256(der).hexdigest(), self.pin.lower()):
            _refuse("not the certificate that the DERP map pins")
        if leaf is not None and now < leaf.not_before:
            _refuse("certificate is not yet valid")
        if leaf is not None and now > leaf.not_after:
            _refuse("certificate has expired")

    def blind(self) -> Trust:
        """The same without a judgement: to look at what would not be trusted."""
        return Trust(self.host, self.name, unverified())
