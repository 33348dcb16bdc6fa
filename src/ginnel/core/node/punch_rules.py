"""With whom, whether and at what: the rules of getting through NATs together (punch.py).

Room: core. Pure.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ginnel.core.node import peer_views
from ginnel.core.node.addresses import is_candidate, is_private
from ginnel.core.node.path_actions import NEVER
from ginnel.core.node.peer_views import OURS
from ginnel.core.node.peers import Peer
from ginnel.wire.punch import NatKind
from ginnel.wire.tailcfg import Node
from ginnel.words import Endpoint, Instant

NO_PROBING = "disable-hard-nat-probing"  # an attribute of our own node in the map
SEARCHES = 2  # of an offer's attempts may be birthday searches
OFFERS, OFFERS_IN = 12, 60.0  # of one peer that are looked at
ORDINARY_FIRST = 5.0  # after a way's sentence: it is tried again, with the relay beside it, before a search


@dataclass(slots=True)
class Record:
    """What was tried with one peer. `way`: where a session found it, while that is trusted. `shunned_until`: such
    ways failed so lately, so many `convictions` in a row, that no further one is looked for. `nats`: ours and the
    peer's, as the last session saw them; `ended`: why that found nothing. Both for people alone."""

    not_before: Instant = NEVER
    failures: int = 0
    attempt: int = 0
    found: bool = False
    nats: tuple[NatKind, NatKind] = (NatKind.UNKNOWN, NatKind.UNKNOWN)
    ended: str = ""
    way: Endpoint | None = None
    convictions: int = 0
    shunned_until: Instant = NEVER
    offers: deque[Instant] = field(default_factory=lambda: deque(maxlen=OFFERS))
    searches: deque[Instant] = field(default_factory=lambda: deque(maxlen=SEARCHES))


def too_many(times: deque[Instant], within: float, now: Instant) -> bool:
    """Whether the deque is full of times that are all as late as that."""
    return len(times) == times.maxlen and now - times[0] < within


def probing_allowed(own: Node | None) -> bool:
    """The policy's word on it: an attribute of our own entry in the map."""
    return own is None or not peer_views.has_attribute(own, NO_PROBING)


def is_ginnel(peer: Peer) -> bool:
    """Others would drop what we say, in silence; it is not said to them."""
    version = (peer.node.hostinfo or {}).get("IPNVersion", "")
    return isinstance(version, str) and version.endswith(OURS)


def is_aimable(peer: Peer, endpoint: Endpoint) -> bool:
    """Whether packets may go to ports of this address that nobody named: it is outside, and the map names it for the
    peer too."""
    if not endpoint.is_v4 or not is_candidate(endpoint) or is_private(endpoint.ip):
        return False
    return endpoint.ip in {known.ip for known in peer_views.endpoints(peer.node)}


def same_boxes_failed(peer: Peer, now: Instant) -> bool:
    """Whether a way through the boxes that a search would go through has answered pings and carried no data. What a
    search finds is another endpoint, so it would be taken for a good one, and data be lost until that is known."""
    return any(is_aimable(peer, endpoint) for endpoint, _ in peer.path.shunned.each(Instant(now - ORDINARY_FIRST)))
