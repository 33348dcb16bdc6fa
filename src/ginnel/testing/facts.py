"""What the state of the world allows at this moment: who can reach whom, and how.

Room: testing.
"""

from __future__ import annotations

from ginnel.testing.network import Host
from ginnel.testing.node import SimNode, World
from ginnel.testing.oracle import Verdict, verdict


class Facts:
    """Verdicts are kept until somebody moves."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._verdicts: dict[tuple[str, str], Verdict] = {}

    def direct(self, a: SimNode, b: SimNode) -> bool:
        """`a` sends to `b` by UDP alone."""
        endpoint, region = a.pump.steered(b.public)
        return endpoint is not None and not region

    def both_direct(self, a: SimNode, b: SimNode) -> bool:
        return self.direct(a, b) and self.direct(b, a)

    def awake(self, a: SimNode, b: SimNode) -> bool:
        return not (a.host.asleep or b.host.asleep)

    def relayed(self, a: SimNode, b: SimNode) -> bool:
        """Both reach the same relay, and know which: from the control server, or because nothing has changed since that
        went away."""
        relays = self.world.relays
        if self.world.control.away and relays.dead:
            return False
        return any(relays.reachable(a, region) and relays.reachable(b, region) for region in relays.stun_hosts)

    def passes(self, a: SimNode, b: SimNode) -> bool:
        """No hole between them, whatever their NATs do."""
        return frozenset((a.name, b.name)) not in self.world.network.holes

    def may_be_direct(self, a: SimNode, b: SimNode) -> bool:
        return self.verdict(a.host, b.host) is not Verdict.RELAYED and self.passes(a, b)

    def must_be_direct(self, a: SimNode, b: SimNode) -> bool:
        """They can find each other by the relay, and there is a way. Without a relay only those who are direct stay
        so."""
        return self.verdict(a.host, b.host) is Verdict.DIRECT and self.passes(a, b) and self.relayed(a, b)

    def must_talk(self, a: SimNode, b: SimNode, *, were_direct: bool) -> bool:
        """A path exists: by a relay, or the direct one that they had when nothing else was left."""
        if not self.awake(a, b):
            return False
        return self.relayed(a, b) or (were_direct and self.passes(a, b))

    def verdict(self, a: Host, b: Host) -> Verdict:
        known = self._verdicts.get((a.name, b.name))
        if known is None:
            known = self._verdicts[a.name, b.name] = verdict(a, b)
        return known

    def forget(self) -> None:
        """Somebody has moved."""
        self._verdicts.clear()
