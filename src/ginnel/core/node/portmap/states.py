"""What a port mapper is at: each state carries what only it needs.

Room: core.
"""

from __future__ import annotations

from dataclasses import dataclass

from ginnel.core.node.portmap import constants as c
from ginnel.core.node.portmap.actions import Granted, Protocol
from ginnel.core.node.portmap.by_natpmp import ByNatPmp
from ginnel.core.node.portmap.by_pcp import ByPcp
from ginnel.core.node.portmap.by_upnp import ByUpnp
from ginnel.words import Endpoint, Instant

Way = ByPcp | ByNatPmp | ByUpnp


@dataclass(slots=True)
class Off:
    """No gateway, no port, or not wanted."""


@dataclass(slots=True)
class Probing:
    """Whoever answers is asked next; who answered and refused is not asked again."""


@dataclass(slots=True)
class Asking:
    """One protocol is asked for a mapping."""

    way: Way


@dataclass(slots=True)
class Held:
    """A mapping stands. `busy`: a check or renewal is under way."""

    way: Way
    granted: Granted
    since: Instant  # the first grant of this hold
    granted_at: Instant
    checked_at: Instant
    busy: bool = False

    @property
    def external(self) -> Endpoint:
        return Endpoint(self.granted.external, self.granted.port)

    @property
    def renew_at(self) -> Instant:
        return Instant(self.granted_at + self.granted.lifetime / 2)

    @property
    def ends_at(self) -> Instant:
        return Instant(self.granted_at + self.granted.lifetime)

    def check_at(self, *, active: bool) -> Instant:
        by_upnp = self.way.protocol is Protocol.UPNP
        often, seldom = (c.CHECK_UPNP_ACTIVE, c.CHECK_UPNP_IDLE) if by_upnp else (c.CHECK_ACTIVE, c.CHECK_IDLE)
        return Instant(self.checked_at + (often if active else seldom))


@dataclass(slots=True)
class Resting:
    """Nothing is mapped; `until`: the next probe."""

    until: Instant


State = Off | Probing | Asking | Held | Resting
