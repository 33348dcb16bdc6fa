"""A world for `Sync` under a virtual clock: a server, DNS, a set, a disk and a process that may be killed any time.

All is drawn from a seed. `Oracle` holds what must be true at each step, and knows the truth that the machine does not.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from random import Random

from ginnel.core.firewall.sync import Sync
from ginnel.core.firewall.sync_words import (
    Action,
    Answer,
    Apply,
    AskDns,
    AskList,
    Family,
    Listing,
    Question,
    ReadSet,
    Save,
    Saved,
    Settings,
    Wanted,
)
from ginnel.words import Instant, IpAddress
from tests.core.firewall.sync_oracle import (
    DNS_TIMEOUT,
    FAULTS,
    LATENCY,
    LIES,
    SET_TIME,
    SLACK,
    TTLS,
    Broken,
    Named,
    Oracle,
    Relay,
)


class World:
    """One run: `play` raises Broken."""

    def __init__(self, seed: int, machine: Callable[..., Sync] = Sync) -> None:
        self.random = Random(seed)
        self.seed = seed
        self._machine = machine
        self.settings = Settings(linger=self.random.choice((60.0, 300.0)), list_every=self.random.choice((30.0, 60.0)))
        self.oracle = Oracle(self.settings)
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.relays: dict[str, Relay] = {}
        self.faults: set[str] = set()
        self.lied: set[Question] = set()
        self.held: set[IpAddress] = set()
        self.disk: tuple[Saved, float] = (Saved(), 0.0)
        self.before = self.disk, dict[Named, float]()
        self.unsure = 0.0  # when it was last that nobody could say how old the state is
        self.shortened = False
        self.rotating = self.random.random() < 0.3
        once = self.random.choice(("server-short", "dns-public-lies"))  # two lies that agree are believed
        self.possible = tuple(fault for fault in FAULTS if fault != once)
        self.ttls = TTLS if self.random.random() < 0.3 else TTLS[:-1]
        self.longest = 0.0  # that an answer of any relay, there still or not, is good for
        self.serial = 1
        self.feed = self.random.random() < 0.5
        self.process: Sync | None = None
        self.life = 0
        self.promised: tuple[float, set[IpAddress]] | None = None
        self.orders = self.kills = self.alarm = 0
        for _ in range(self.random.randint(2, 8)):
            self.add_relay()

    # --- time ----------------------------------------------------------------------------------------------------

    def at(self, delay: float, what: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now + delay, self.count, what))

    def play(self, stormy: float = 5400.0, calm: float = 3600.0) -> None:
        self.start()
        self.at(self.random.uniform(1, 60), self.storm)
        self._run(stormy)
        self.settle()
        self._run(stormy + calm)
        if self.process is None:
            raise Broken("the process is not there at the end")
        true = self.oracle.true()
        if self.held != true and not (self.held > true and self.patience()):
            raise Broken(f"at the end: too much {self.held - true}, too little {true - self.held}")

    def _run(self, until: float) -> None:
        try:
            while self.events and self.events[0][0] <= until:
                self.now, _, what = heapq.heappop(self.events)
                what()
                self.look()
            self.now = until
        except Broken as broken:
            raise Broken(f"seed {self.seed}, at {self.now:.1f} s: {broken}; faults: {sorted(self.faults)}") from None

    def look(self) -> None:
        self.oracle.standing(self.held, self.now, self.longest, self.patience())
        if self.promised is not None and self.now > self.promised[0]:
            _, promised = self.promised
            self.promised = None
            if missing := (promised & self.oracle.true()) - self.held:
                raise Broken(f"not put back after the start: {missing}")

    def patience(self) -> float:
        """Of names that have rotated."""
        saved = self.process._patience.saved() if self.process is not None else ()
        return max((stays for _, stays in saved), default=0.0)

    # --- what happens --------------------------------------------------------------------------------------------

    def storm(self) -> None:
        """One thing after the other; each takes its time."""
        self.random.choice((
            self.add_relay, self.drop_relay, self.move_relay, self.move_relay, self.fault, self.fault, self.fault,
            self.mend, self.mend, self.kill, self.kill, self.reboot, self.flush, self.stranger, self.pick,
            self.lose_state, self.old_state,
        ))()  # fmt: skip
        self.at(self.random.choice((1.0, 10.0, 60.0, 400.0)) * self.random.random(), self.storm)

    def settle(self) -> None:
        """The storm is over, and nothing else comes."""
        self.events = [event for event in self.events if event[2] != self.storm]
        heapq.heapify(self.events)
        self.faults.clear()
        self.disturbed()

    def disturbed(self) -> None:
        """From here on it is calm, if nothing is amiss."""
        self.oracle.calm_since = float("inf") if self.faults or self.process is None else self.now

    def fault(self) -> None:
        fault = self.random.choice(self.possible)
        self.faults.add(fault)
        if fault.startswith("set-"):
            self.promised = None
        if fault == "set-gone":
            self.held.clear()
        self.disturbed()

    def mend(self) -> None:
        if self.faults:
            self.faults.discard(self.random.choice(sorted(self.faults)))
            self.disturbed()

    def address(self, family: int = 0) -> IpAddress:
        if family == 4 or (family == 0 and self.random.random() < 0.7):
            return IPv4Address(0x2D000000 + self.random.randrange(400))
        return IPv6Address((0x2A00 << 112) + self.random.randrange(100))

    def add_relay(self) -> None:
        name = f"derp{self.random.randrange(12)}.example.com"
        if name not in self.relays:
            more = {self.address() for _ in range(self.random.randint(0, 2))}
            addresses = {self.address(4), self.address(6), *more}
            listed = self.random.random() < 0.4
            rotates = self.rotating and not listed and self.random.random() < 0.4
            more |= {self.address(4), self.address(6)} if rotates else set()
            relay = self.relays[name] = Relay(name, addresses | more, listed, self.random.choice(self.ttls), rotates)
            self.oracle.rotating |= {name} if rotates else set()
            self.longest = max(self.longest, relay.lag)
            self.changed()

    def drop_relay(self) -> None:
        if len(self.relays) > 1:
            del self.relays[self.random.choice(sorted(self.relays))]
            self.changed()

    def move_relay(self) -> None:
        relay = self.relays[self.random.choice(sorted(self.relays))]
        if relay.rotates:
            return
        more = {
            self.address(ip.version) for ip in sorted(relay.addresses, key=str)
        }  # a family that goes for good is never believed
        relay.addresses = relay.addresses | more if len(relay.addresses) < 4 else more
        self.changed()

    def changed(self) -> None:
        self.serial += 1
        self.oracle.truth({(relay.name, ip) for relay in self.relays.values() for ip in relay.addresses}, self.now)

    def flush(self) -> None:
        self.held.clear()
        self.promised = None
        self.disturbed()

    def pick(self) -> None:
        """Somebody takes one out by hand."""
        if self.held:
            self.held.discard(self.random.choice(sorted(self.held, key=str)))
            self.promised = None
            self.disturbed()

    def stranger(self) -> None:
        if "set-gone" in self.faults:
            return
        address = IPv4Address(0x2E000000 + self.random.randrange(50))
        self.held.add(address)
        self.oracle.found.setdefault(address, self.now)
        self.oracle.left[address] = self.now
        self.disturbed()

    # --- the process ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        saved, at = self.disk
        self.life += 1
        elapsed = 0.0 if self.unsure >= at else self.now - at
        self.process = self._machine(self.settings, saved, elapsed, Instant(self.now))
        self.perform(self.process.start(Instant(self.now)))
        self.disturbed()

    def kill(self) -> None:
        """-9. What it had ordered of others may still happen; nobody hears of it."""
        if self.process is not None:
            self.kills += 1
            self.process = None
            self.promised = None
            self.oracle.named = dict(self.oracle.kept)
            self.disturbed()
            self.at(self.random.choice((0.2, 1.0, 30.0, 600.0)) * self.random.random(), self.start)

    def reboot(self) -> None:
        if self.process is not None:
            self.kill()
            self.unsure = self.now
            self.events = [event for event in self.events if getattr(event[2], "__name__", "") != "effect"]
            heapq.heapify(self.events)
            held, self.held = set(self.held), set()
            if not {"set-fails", "set-unreadable", "set-gone", "disk-full"} & self.faults:
                saved = {ip for _, addresses, _ in self.disk[0].vouched for ip in addresses}
                last = max(at for at, _, what in self.events if what == self.start)
                self.promised = (last + SLACK, held & saved)

    def lose_state(self) -> None:
        if self.random.random() < 0.3:
            self.disk = (Saved(), self.now)
            self.oracle.kept.clear()
            if self.process is None:
                self.oracle.named.clear()
            self.promised = None

    def old_state(self) -> None:
        """What was written last is damaged: the state before it is there."""
        if self.process is None:
            self.disk, self.oracle.kept = self.before[0], dict(self.before[1])
            self.unsure = self.now
            self.oracle.named = dict(self.oracle.kept)
            self.promised = None

    def wake(self, number: int) -> None:
        """Only the last one that was asked for."""
        if number == self.alarm and self.process is not None:
            self.perform(self.process.tick(Instant(self.now)))

    def perform(self, actions: list[Action]) -> None:
        for action in actions:
            if self.random.random() < 0.0005 and self.now < 5000:
                self.kill()  # between two orders
            if self.process is None:
                return
            match action:
                case AskList():
                    self.ask_list()
                case AskDns(question):
                    self.ask_dns(question)
                case ReadSet():
                    self.read_set()
                case Apply():
                    self.apply(action)
                case Save(saved):
                    if "disk-full" not in self.faults:
                        self.before = self.disk, dict(self.oracle.kept)
                        self.disk = (saved, self.now)
                        self.oracle.kept = dict(self.oracle.named)
        if self.process is not None and (at := self.process.next_timeout()) is not None:
            self.alarm = number = self.count
            self.at(max(0.001, at - self.now), lambda: self.wake(number))

    def later(self, tell: Callable[[Sync, Instant], list[Action]], delay: float | None = None) -> None:
        """Whoever asked hears it, if it lives."""
        life = self.life

        def told() -> None:
            if life == self.life and self.process is not None:
                self.perform(tell(self.process, Instant(self.now)))

        self.at(self.random.uniform(0.001, LATENCY) if delay is None else delay, told)

    # --- who answers ---------------------------------------------------------------------------------------------

    def ask_list(self) -> None:
        if "server-down" in self.faults:
            return self.later(lambda sync, now: sync.unlisted("no answer", now))
        if "server-garbage" in self.faults:
            return self.garbage()
        relays = [Relay(r.name, set(r.addresses), r.listed, r.ttl) for r in self.relays.values()]
        if "server-short" in self.faults and not self.shortened:
            self.shortened = True  # once in a run: who says so twice is believed
            relays = relays[: self.random.randint(0, len(relays))]
        listing = Listing(tuple(map(wanted, relays)), self.serial if self.feed else 0)
        said = {(relay.name, ip) for relay in relays if relay.listed for ip in relay.addresses}
        return self.later(lambda sync, now: self.name(said) or sync.listed(listing, now))

    def garbage(self) -> None:
        if self.feed and self.random.random() < 0.5 and self.serial > 1:
            old = Listing((Wanted("old.example.com", frozenset((IPv4Address("45.45.45.45"),))),), self.serial - 1)
            sync = self.process
            if sync is not None and sync.serial >= self.serial:
                return self.later(lambda sync, now: sync.listed(old, now))
        return self.later(lambda sync, now: sync.listed(Listing((), self.serial if self.feed else 0), now))

    def name(self, pairs: set[Named]) -> None:
        for pair in pairs:
            self.oracle.named[pair] = self.now

    def answer(self, sync: Sync, question: Question, answer: Answer, now: Instant) -> list[Action]:
        self.name({(question.name, address) for address in answer.addresses})
        return sync.resolved(question, answer, now)

    def ask_dns(self, question: Question) -> None:
        relay = self.relays.get(question.name)
        kind = self.random.choice(sorted(self.faults)) if self.faults and self.random.random() < 0.8 else ""
        if kind == "dns-down" or (kind == "dns-lies" and self.random.random() < 0.3):
            return self.later(lambda sync, now: sync.unresolved(question, "no answer", now), DNS_TIMEOUT)
        if kind == "dns-empty" or relay is None:
            return self.later(lambda sync, now: sync.resolved(question, Answer(frozenset(), 60.0), now))
        if kind == "dns-one-family" and question.family == 6:
            return self.later(lambda sync, now: sync.resolved(question, Answer(frozenset(), 60.0), now))
        if kind == "dns-flood":
            flood = frozenset(IPv4Address(0x30000000 + n) for n in range(300))
            return self.later(lambda sync, now: sync.resolved(question, Answer(flood, relay.ttl), now))
        if relay.rotates:
            return self.turn(relay, question)
        true = relay.of(question.family)
        if kind == "dns-lies":
            part = frozenset(ip for ip in sorted(true) if self.random.random() < 0.4)
            answer = Answer(part, relay.ttl, (str(self.random.choice(LIES)),))
            return self.later(lambda sync, now: self.answer(sync, question, answer, now))
        if kind == "dns-public-lies" and question not in self.lied and true and question.family == 4:
            return self.lie(question, relay.ttl)
        return self.later(lambda sync, now: self.answer(sync, question, Answer(true, relay.ttl), now))

    def turn(self, relay: Relay, question: Question) -> None:
        """Which half it is shows when it arrives: an answer that nobody hears is none."""

        def told(sync: Sync, now: Instant) -> list[Action]:
            return self.answer(sync, question, Answer(relay.of(question.family), relay.ttl), now)

        self.later(told)

    def lie(self, question: Question, ttl: float) -> None:
        """A stranger's address, once in a run: nothing tells a liar who keeps to his story from the truth."""
        address = IPv4Address(0x2F000000 + self.random.randrange(50))
        self.lied.add(question)
        self.oracle.ever.add(address)

        def told(sync: Sync, now: Instant) -> list[Action]:
            self.oracle.left[address] = self.now
            return self.answer(sync, question, Answer(frozenset((address,)), ttl), now)

        self.later(told)

    # --- the set -------------------------------------------------------------------------------------------------

    def read_set(self) -> None:
        if "set-gone" in self.faults or ("set-unreadable" in self.faults and self.random.random() < 0.8):
            return self.later(lambda sync, now: sync.unread("cannot be read", now))
        life = self.life

        def read() -> None:
            if life == self.life and self.process is not None:
                self.perform(self.process.held(frozenset(self.held), Instant(self.now)))

        return self.at(self.random.uniform(0.001, SET_TIME), read)

    def apply(self, change: Apply) -> None:
        self.orders += 1
        self.oracle.ordered(change, self.held, self.now)
        gone = "set-gone" in self.faults
        fails = gone or ("set-fails" in self.faults and self.random.random() < 0.8)
        part = 0.0 if gone else self.random.random() if fails else 1.0
        when = self.random.uniform(0.001, SET_TIME)

        def effect() -> None:
            for address in sorted(change.adds, key=str)[: round(part * len(change.adds))]:
                self.held.add(address)
            for address in sorted(change.removes, key=str)[: round(part * len(change.removes))]:
                self.held.discard(address)

        self.at(when, effect)
        if fails:
            self.later(lambda sync, now: sync.not_applied("it failed", now), when + 0.01)
        else:
            self.later(lambda sync, now: sync.applied(now), when + 0.01)


def wanted(relay: Relay) -> Wanted:
    families: tuple[Family, ...] = (4, 6)
    if relay.listed:
        return Wanted(relay.name, frozenset(relay.addresses))
    return Wanted(relay.name, frozenset(), families)
