"""What must hold of searches for a path beyond the ordinary (docs/protocol/punch.md), seen from outside the core.

Room: testing. A packet of a search is a ping from a side socket to where nothing has come from.

    paced       no more than 100 of them leave a machine in a second
    bounded     a socket sends none any more 22 s after its first; two searches that miss in 5 minutes for each contact
    permitted   no port that nobody named is tried, and no socket opened for that, against policy or by a modem
    kept        no socket that a path goes by is closed
    released    a socket is closed unless it carries a path or has just heard something, and with an idle machine's path
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ginnel.testing.pump import MAGIC
from ginnel.wire import stun
from ginnel.words import Endpoint, Instant

if TYPE_CHECKING:
    from ginnel.testing.node import SimNode
    from ginnel.testing.watch import Watch

IN_A_SECOND = 100 + 10  # openers of attempts that only begin go at once
SEARCH = 20.0 + 1.2 + 1.0  # seconds from a socket's first packet of a search to its last
OF_A_SEARCH = 64  # packets from one socket, or sockets opened at once: more than any other attempt takes
MISSES, MISSES_IN = 2, 300.0  # searches for each contact
UNUSED_FOR = 20.0  # a socket that is kept has heard something since, or a path went by it
RELEASED_IN = 40.0  # of a socket's life: an attempt's longest, and that of what it leaves
IDLE_RELEASED_IN = 45.0 + 180.0 + 45.0  # from an idle machine's last packet


@dataclass(slots=True)
class Batch:
    """Sockets that were opened at once. `hit`: one of them has heard a peer."""

    opened: Instant
    hit: bool = False


@dataclass(slots=True)
class Side:
    """One open side socket. Times are its machine's. `used_at`: something came, or a path went by it."""

    batch: Batch
    used_at: Instant
    heard: set[Endpoint] = field(default_factory=set)
    packets: int = 0
    searches_since: Instant | None = None


class SideWatch:
    """By machine and process."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._open: dict[tuple[int, int], dict[int, Side]] = {}
        self._paces: dict[int, deque[Instant]] = {}
        self._misses: dict[int, deque[Instant]] = {}

    # --- sockets ---

    def opened(self, node: SimNode, numbers: Sequence[int]) -> None:
        if len(numbers) > OF_A_SEARCH and (why := node.probing_forbidden()):
            self._watch.broken(f"{node.name} opens {len(numbers)} sockets to search with, {why}")
        held = self._sides(node)
        batch = Batch(node.now)
        held.update((number, Side(batch, node.now)) for number in numbers)
        node.later(RELEASED_IN, self._look_again, node, tuple(numbers))

    def heard(self, node: SimNode, number: int, source: Endpoint) -> None:
        side = self._sides(node)[number]
        side.heard.add(source)
        side.batch.hit |= source not in node.world.relays.stun_addresses
        side.used_at = node.now

    def heard_by(self, node: SimNode, number: int) -> set[Endpoint]:
        """By a socket that is open."""
        side = self._sides(node).get(number)
        return side.heard if side is not None else set()

    def left(self, node: SimNode, number: int) -> None:
        """A path went by it until now."""
        if (side := self._sides(node).get(number)) is not None:
            side.used_at = node.now

    def closed(self, node: SimNode, numbers: Sequence[int]) -> None:
        """A search none of whose sockets has heard a peer has missed."""
        held = self._sides(node)
        if any(number in node.pump.sockets_in_use() for number in numbers):
            self._watch.broken(f"{node.name} closes a side socket that a path goes by")
        sides = [held.pop(number) for number in numbers]
        searched = len(sides) > OF_A_SEARCH or any(side.packets > OF_A_SEARCH for side in sides)
        if searched and not any(side.batch.hit for side in sides):
            self._missed(node)

    def _missed(self, node: SimNode) -> None:
        contacts = len(self._watch.contacts(node))
        times = self._misses.setdefault(node.number, deque())
        times.append(node.now)
        while times and node.now - times[0] > MISSES_IN:
            times.popleft()
        if len(times) > MISSES * contacts:
            self._watch.broken(f"{node.name} searched {len(times)} times within 5 minutes, with {contacts} contacts")

    def _look_again(self, node: SimNode, numbers: tuple[int, ...]) -> None:
        held = self._sides(node)
        still = tuple(number for number in numbers if number in held)
        if not still:
            return
        node.later(UNUSED_FOR, self._look_again, node, still)
        if node.host.asleep:
            return
        in_use = node.pump.sockets_in_use()
        idle = self._watch.idle_for(node)
        for number in still:
            side = held[number]
            if node.now - side.batch.opened < RELEASED_IN - 1.0:
                continue
            if number not in in_use and node.now - side.used_at > UNUSED_FOR:
                self._watch.broken(f"{node.name} keeps {len(still)} side sockets that nobody uses")
            if idle > IDLE_RELEASED_IN:
                self._watch.broken(f"{node.name} keeps a side socket, idle for {idle:.0f} s")

    # --- packets ---

    def sends(self, node: SimNode, number: int, to: Endpoint, packet: bytes) -> bool:
        """Whether it is a packet of a search."""
        side = self._sides(node).get(number)
        if side is None or to in side.heard or stun.is_stun(packet):
            return False
        if packet.startswith(MAGIC):
            self._watch.broken(f"{node.name} sends WireGuard to {to}, where nothing came from")
        if to not in node.world.relays.seen and (why := node.probing_forbidden()):
            self._watch.broken(f"{node.name} tries {to}, which nobody named, {why}")
        self._pace(node)
        side.packets += 1
        since = side.searches_since = side.searches_since or node.now
        if node.now - since > SEARCH:
            self._watch.broken(f"{node.name} searches for {node.now - since:.0f} s with one socket")
        return True

    def _pace(self, node: SimNode) -> None:
        times = self._paces.setdefault(node.number, deque(maxlen=IN_A_SECOND))
        if len(times) == IN_A_SECOND and node.now - times[0] < 1.0:
            self._watch.broken(f"{node.name} sends more than {IN_A_SECOND} packets of a search in a second")
        times.append(node.now)

    def _sides(self, node: SimNode) -> dict[int, Side]:
        return self._open.setdefault((node.number, node.process), {})
