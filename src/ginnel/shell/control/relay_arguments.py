"""What the fleet's verbs of the admin API take.

Room: shell. Unknown members are refused.
"""

from __future__ import annotations

import msgspec

from ginnel.core.control import limits


class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Nothing(Arguments, frozen=True):
    pass


class CreateToken(Arguments, frozen=True):
    """`expiration`: seconds from now."""

    region: int
    code: str = ""
    name: str = ""
    latitude: float = 0.0
    longitude: float = 0.0
    expiration: float = 3600.0


class TokenName(Arguments, frozen=True):
    token: str


class RelayName(Arguments, frozen=True):
    relay: str


class MaybeName(Arguments, frozen=True):
    relay: str = ""


class DrainRelay(Arguments, frozen=True):
    """`deadline`: seconds from now."""

    relay: str
    deadline: float = limits.DRAIN_TIME
    force: bool = False


class RemoveRelay(Arguments, frozen=True):
    relay: str
    force: bool = False


class AddRelay(Arguments, frozen=True):
    """A relay that does not talk to us: `derper`, say."""

    host: str
    region: int
    code: str = ""
    name: str = ""
    key: str = ""
    cert_name: str = ""
    ipv4: str = ""
    ipv6: str = ""
    port: int = 0
    stun_port: int = 0
    can_port80: bool = False


class EditRegion(Arguments, frozen=True):
    """Members that are None are unchanged. `score` 0: none."""

    region: int
    code: str | None = None
    name: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    score: float | None = None
    avoid: bool | None = None
    no_home: bool | None = None
    hidden: bool | None = None


class ShowMap(Arguments, frozen=True):
    """`full`: before any editing. Else as a node with these tags, or of this user, sees it."""

    full: bool = False
    tags: list[str] = []
    user: str = ""
