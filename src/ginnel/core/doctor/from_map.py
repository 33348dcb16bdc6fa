"""What the net map lets guess of a peer that says nothing itself: an official client, or one that is out of reach.

Room: core. Pure. A client names its outside addresses in the map (tailscale: wgengine/magicsock determineEndpoints):
one where the NAT is easy, several ports of one address where it is hard, and none where STUN gets no answer.
"""

from __future__ import annotations

from collections import Counter

from ginnel.core.node import peer_views
from ginnel.core.node.addresses import is_private
from ginnel.wire.doctor import ENDPOINTS, Testimony
from ginnel.wire.tailcfg import Node


def of_map(node: Node) -> Testimony:
    """Only what can be told with some right; the rest stays unknown."""
    told = peer_views.endpoints(node)
    outside = [endpoint for endpoint in told if not is_private(endpoint.ip)]
    ports = Counter(endpoint.ip for endpoint in outside if endpoint.is_v4)
    seen_v4 = next((str(endpoint) for endpoint in outside if endpoint.is_v4), "")
    behind_nat = any(is_private(endpoint.ip) for endpoint in told if endpoint.is_v4)
    return Testimony(
        udp=bool(outside) if told else None,
        varies=any(count > 1 for count in ports.values()) if seen_v4 and behind_nat else None,
        seen_v4=seen_v4,
        told=tuple(str(endpoint) for endpoint in told)[:ENDPOINTS],
        home=peer_views.home_region(node),
    )
