"""What the state of the world allows at this moment: who can reach whom, and how.

Room: testing.
"""

from __future__ import annotations

from dataclasses import dataclass

from ginnel.testing.network import Host
from ginnel.testing.node import SimNode, World
from ginnel.testing.oracle import Verdict, verdict


@dataclass(frozen=True, slots=True)
class Facts:
    world: World

    def direct(self, a: SimNode, b: SimNode) -> bool:
        """`a` sends to `b` by UDP alone."""
        endpoint, region = a.pump.steered(b.public)
        return endpoint is not None and not region

    def both_direct(self, a: SimNode, b: SimNode) -> bool:
        return self.direct(a, b) and self.direct(b, a)

    def awake(self, a: SimNode, b: SimNode) -> bool:
        return not (a.host.asleep or b.host.asleep)

    def relayed(self, a: SimNode, b: SimNode) -> bool:
        """Both reach the same relay, and can be told by the control server which."""
        regions = self.world.relays.stun_hosts
        reach = self.world.relays.reachable
        return not self.world.control.away and any(reach(a, region) and reach(b, region) for region in regions)

    def passes(self, a: SimNode, b: SimNode) -> bool:
        """No hole between them, whatever their NATs do."""
        return frozenset((a.name, b.name)) not in self.world.network.holes

    def may_be_direct(self, a: SimNode, b: SimNode) -> bool:
        return self._verdict(a.host, b.host) is not Verdict.RELAYED and self.passes(a, b)

    def must_be_direct(self, a: SimNode, b: SimNode) -> bool:
        """They can find each other by the relay, and there is a way. Without a relay only those who are direct stay
        so."""
        return self._verdict(a.host, b.host) is Verdict.DIRECT and self.passes(a, b) and self.relayed(a, b)

    def must_talk(self, a: SimNode, b: SimNode, *, were_direct: bool) -> bool:
        """A path exists: by a relay, or the direct one that they had when nothing else was left."""
        if not self.awake(a, b):
            return False
        return self.relayed(a, b) or (were_direct and self.passes(a, b))

    def _verdict(self, a: Host, b: Host) -> Verdict:
        return verdict(a, b)
