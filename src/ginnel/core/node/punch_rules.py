"""With whom, whether and at what: the rules of getting through NATs together (punch.py).

Room: core. Pure.
"""

from __future__ import annotations

from collections import deque

from ginnel.core.node import peer_views
from ginnel.core.node.addresses import is_candidate, is_private
from ginnel.core.node.peers import Peer
from ginnel.wire.tailcfg import Node
from ginnel.words import Endpoint, Instant

OURS = "-ginnel"  # the end of IPNVersion
NO_PROBING = "disable-hard-nat-probing"  # an attribute of our own node in the map


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
