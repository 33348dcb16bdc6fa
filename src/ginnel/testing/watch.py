"""What must hold at every step of a simulation, whatever befalls the network; the first breach ends the run.

Room: testing. What is checked here belongs to single packets; what belongs to stretches of time is checked by the
conversations (conversation.py).

    nothing in the clear   each packet that leaves a machine is STUN to a STUN server, sealed disco, or WireGuard
    no packet against policy   what comes out of a tunnel was permitted, or answers what went in at this end
    no storm               packets of discovery to one endpoint, and of one node for each of its contacts, in a minute;
                           those of a search for a way through NATs: watch_sides.py
    the idle are silent    no discovery by a node that nobody has talked to or from for a while
    steered by sense       no path leads into the tailnet itself, to a multicast group or to port 0, nor by a socket to
                           where that has heard nothing from
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, NoReturn
from zlib import crc32

from ginnel.core.node.addresses import is_candidate
from ginnel.testing.clock import VirtualClock
from ginnel.testing.inner import CANARY, Inner
from ginnel.testing.nat import STUN_PORT
from ginnel.testing.pump import MAGIC
from ginnel.testing.watch_sides import SideWatch
from ginnel.wire import disco, stun
from ginnel.wire.address import ADDRESS_SIZE
from ginnel.wire.punch import SESSION_SIZE
from ginnel.words import Endpoint, Instant, NodeKey, RegionId

if TYPE_CHECKING:
    from ginnel.testing.node import SimNode

MINUTE = 60.0
TO_ONE_ENDPOINT = 150  # a minute: 8 + 60 probes to one that is silent, as many answers, some slack
OF_ONE_CONTACT = 220  # a minute: a first search, then 45 probes, as many answers, 12 calls, 20 words about punching
OF_A_NODE = 60  # a minute, beside its contacts
IDLE_AFTER = 150.0  # 45 s of activity after the last packet, 90 s of asking for a session, some slack
RECOVERS_IN = 4.0  # from what befalls the network, if nothing else is said
TOLD_WITHIN = 2.0  # a change of policy
NEVER = Instant(float("-inf"))


class Broken(AssertionError):
    """An invariant does not hold. The message says which, when and of whom."""


class Watch:
    """`digest` sums up all packets in their order: two runs of one seed end with the same. `trace`: a line for each
    packet and decision, if it is wanted."""

    def __init__(self, clock: VirtualClock, *, trace: bool = False) -> None:
        self.digest = 0
        self.trace: list[str] | None = [] if trace else None
        self.probes: Counter[tuple[str, Endpoint]] = Counter()
        self.sides = SideWatch(self)
        self._clock = clock
        self._to_endpoint: dict[tuple[int, Endpoint], deque[Instant]] = {}
        self._minutes: dict[int, tuple[Instant, int]] = {}  # began, packets since
        self._active: dict[int, Instant] = {}
        self._contacts: dict[int, set[int]] = {}
        self._stirred = NEVER
        self._policy_at = NEVER
        self.settled_at = NEVER
        self._said: set[tuple[int, int, int, int]] = set()

    # --- what befalls the world ---

    def stir(self, what: str, recovers_in: float = RECOVERS_IN) -> None:
        """Something happened to the network, so everybody may look for paths anew, and find them in that time."""
        self._stirred = self._clock.now
        self.settled_at = max(self.settled_at, Instant(self._clock.now + recovers_in))
        if what:
            self.note(f"# {what}")

    def policy_changed(self) -> None:
        """Or somebody who had not heard of the last change is told of it only now."""
        self._policy_at = self._clock.now

    # --- packets that leave a machine ---

    def udp(self, node: SimNode, to: Endpoint, packet: bytes, socket: int, ttl: int) -> None:
        """`socket`: the side socket that it leaves by; 0: the tunnel's own."""
        of_search = bool(socket) and self.sides.sends(node, socket, to, packet)
        if of_search:
            self._not_idle(node)
        elif packet.startswith(disco.MAGIC):
            self._discovery(node)
            self._count_endpoint(node, to)
        elif stun.is_stun(packet):
            if to.port != STUN_PORT:
                self.broken(f"{node.name} asks {to} for its address, no STUN server")
        elif not packet.startswith(MAGIC):
            self.broken(f"{node.name} sends {to} what is neither STUN, disco nor WireGuard")
        self._leaves(node, packet)
        if self.trace is not None:
            by = f" by side socket {socket}" if socket else ""
            self.note(f"{node.name} -> {to}: {_kind(packet)}{by}{f', {ttl} hops' if ttl else ''}")

    def relayed(self, node: SimNode, region: RegionId, to: NodeKey, packet: bytes) -> None:
        if packet.startswith(disco.MAGIC):
            self._discovery(node)
            there = node.world.relays.by_key.get(to)
            if len(packet) == PUNCH_SIZE and there is not None and not there.punches:
                self.broken(f"{node.name} tells {there.name} of punching, which does not know it")
        elif not packet.startswith(MAGIC):
            self.broken(f"{node.name} relays what is neither disco nor WireGuard")
        self._leaves(node, packet)
        if self.trace is not None:
            self.note(f"{node.name} -> {self._name(node, to)} by relay {region}: {_kind(packet)}")

    def _leaves(self, node: SimNode, packet: bytes) -> None:
        if CANARY in packet:
            self.broken(f"{node.name} sends an application's bytes in the clear")
        self.digest = crc32(packet, self.digest ^ node.number)

    # --- decisions ---

    def steered(self, node: SimNode, peer: NodeKey, endpoint: Endpoint | None, region: RegionId, socket: int) -> None:
        if endpoint is not None and not is_candidate(endpoint):
            self.broken(f"{node.name} steers {self._name(node, peer)} to {endpoint}")
        heard = self.sides.heard_by(node, socket) if socket else node.heard
        if endpoint is not None and endpoint not in heard:
            self.broken(f"{node.name} steers {self._name(node, peer)} to {endpoint}, where that socket heard nothing")
        if self.trace is not None:
            self.note(f"{node.name} steers {self._name(node, peer)}: endpoint {endpoint}, relay {region}")

    # --- the application ---

    def asked(self, node: SimNode, to: SimNode, source_port: int, port: int) -> None:
        """Something goes into the tunnel, not as an answer."""
        self.said(node, to, source_port, port)
        self.contact(node, to)

    def said(self, node: SimNode, to: SimNode, source_port: int, port: int) -> None:
        """Packets the other way are answers from now on, whatever the policy says (tailscale: wgengine/filter keeps the
        flows when the rules change)."""
        self._said.add((node.number, source_port, to.number, port))

    def contact(self, node: SimNode, to: SimNode) -> None:
        """The two have a reason to look for each other."""
        for one, other in ((node, to), (to, node)):
            self._active[one.number] = self._clock.now
            self._contacts.setdefault(one.number, set()).add(other.number)

    def contacts(self, node: SimNode) -> set[int]:
        """By number, all there ever were."""
        return self._contacts.get(node.number, set())

    def idle_for(self, node: SimNode) -> float:
        """Seconds since it had a reason to look for paths."""
        return self._clock.now - max(self._stirred, self._active.get(node.number, NEVER))

    def delivered(self, node: SimNode, source: SimNode, inner: Inner) -> None:
        """Something came out."""
        if inner.source != source.address:
            self.broken(f"{source.name} speaks as {inner.source}, to {node.name}")
        if (node.number, inner.port, source.number, inner.source_port) in self._said:
            return
        told = self._clock.now - self._policy_at > TOLD_WITHIN
        if told and not node.world.control.permits(source, node, inner.port):
            self.broken(f"{source.name} reaches port {inner.port} of {node.name} against policy")

    # --- counting ---

    def _not_idle(self, node: SimNode) -> None:
        if (idle := self.idle_for(node)) > IDLE_AFTER:
            self.broken(f"{node.name} probes for a path, idle for {idle:.0f} s")

    def _discovery(self, node: SimNode) -> None:
        self._not_idle(node)
        now = self._clock.now
        began, count = self._minutes.get(node.number, (now, 0))
        if now - began > MINUTE:
            began, count = now, 0
        self._minutes[node.number] = (began, count + 1)
        contacts = len(self._contacts.get(node.number, ()))
        if count >= OF_A_NODE + OF_ONE_CONTACT * contacts:
            self.broken(f"{node.name} sent {count} packets of discovery in a minute, with {contacts} contacts")

    def _count_endpoint(self, node: SimNode, to: Endpoint) -> None:
        self.probes[node.name, to] += 1
        now = self._clock.now
        times = self._to_endpoint.get((node.number, to))
        if times is None:
            times = self._to_endpoint[node.number, to] = deque(maxlen=TO_ONE_ENDPOINT)
        elif len(times) == TO_ONE_ENDPOINT and now - times[0] <= MINUTE:
            self.broken(f"{node.name} sent {TO_ONE_ENDPOINT} probes to {to} in a minute")
        times.append(now)

    # --- words ---

    def broken(self, breach: str) -> NoReturn:
        self.note(f"# broken: {breach}")
        raise Broken(f"at {self._clock.now:.3f} s: {breach}")

    def note(self, line: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self._clock.now:.6f} {line}")

    @staticmethod
    def _name(node: SimNode, peer: NodeKey) -> str:
        known = node.world.relays.by_key.get(peer)
        return known.name if known is not None else peer.short()


PONG_SIZE = disco.OVERHEAD + disco.TX_ID_SIZE + ADDRESS_SIZE
PUNCH_SIZE = disco.OVERHEAD + 6 + SESSION_SIZE + ADDRESS_SIZE


KINDS = {disco.PING_SIZE: "ping", PONG_SIZE: "pong", PUNCH_SIZE: "word about punching"}


def _kind(packet: bytes) -> str:
    """A box tells its message by its size: a call-me-maybe's is never a ping's or a pong's."""
    if packet.startswith(disco.MAGIC):
        size = len(packet)
        if (known := KINDS.get(size)) is not None:
            return known
        return f"call-me-maybe with {(size - disco.OVERHEAD) // ADDRESS_SIZE} endpoints"
    if stun.is_stun(packet):
        return "STUN request"
    return {
        b"i": "initiation",
        b"r": "response",
        b"d": "data",
        b"k": "keepalive",
        b"q": "question",
        b"t": "answer",
    }.get(packet[4:5], "?")
