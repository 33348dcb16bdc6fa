"""What the state of the world allows at this moment: who can reach whom, and how.

Room: testing.
"""

from __future__ import annotations

from ginnel.testing.nat import Ports
from ginnel.testing.network import Host
from ginnel.testing.node import SimNode, World
from ginnel.testing.oracle import Verdict, verdict
from ginnel.testing.oracle_search import Search, chain, search
from ginnel.testing.patience import SearchPatience

ORDINARY_LOSS = 0.1


class Facts:
    """Verdicts are kept until somebody moves."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._verdicts: dict[tuple[str, str], Verdict] = {}
        self._searches: dict[tuple[str, str], Search | None] = {}
        self._patience: dict[frozenset[str], SearchPatience] = {}

    def search_patience(self, a: SimNode, b: SimNode) -> SearchPatience:
        """What a search was spent on is remembered from one conversation of the two to the next."""
        return self._patience.setdefault(frozenset((a.name, b.name)), SearchPatience(self, a, b))

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
        """They can find each other by the relay, and there is a way for ordinary means. Without a relay only those who
        are direct stay so."""
        return self.verdict(a.host, b.host) is Verdict.DIRECT and self.passes(a, b) and self.relayed(a, b)

    def must_be_found(self, a: SimNode, b: SimNode) -> Search | None:
        """The search that gets them through where ordinary means don't. A machine has two searches at a time, which
        share their pace, so those are left to luck who have anybody else to search for."""
        if self.verdict(a.host, b.host) is Verdict.DIRECT or not self.quiet(a, b):
            return None
        search = self.search(a, b)
        if search is None or not (a.punches and b.punches):
            return None
        if search.guesses and (a.probing_forbidden() or b.probing_forbidden()):
            return None
        return search if self._alone(a, b) and self._alone(b, a) else None

    def _alone(self, a: SimNode, b: SimNode) -> bool:
        others = self.world.watch.contacts(a) - {b.number}
        there = [node for node in self.world.relays.by_key.values() if node.number in others]
        return all(self.verdict(a.host, other.host) is Verdict.DIRECT for other in there)

    def quiet(self, a: SimNode, b: SimNode) -> bool:
        """Nothing is amiss for a search of these two."""
        world = self.world
        calm = not world.control.away and world.network.loss <= ORDINARY_LOSS
        return calm and self.awake(a, b) and self.passes(a, b) and self.relayed(a, b)

    def search(self, a: SimNode, b: SimNode) -> Search | None:
        """What others open behind the same sequential NAT spoils predictions."""
        key = (a.name, b.name)
        if key not in self._searches:
            found = search(a.host, b.host, len(self.world.relays.stun_hosts))
            crowded = any(
                nat.kind.ports is Ports.SEQUENTIAL and self.world.network.crowded(nat)
                for nat in (*chain(a.host), *chain(b.host))
            )
            self._searches[key] = None if found is Search.PREDICTION and crowded else found
        return self._searches[key]

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
        self._searches.clear()
