"""What `firewall verify` found: each check, what it means for each need, and which machines suffer.

Room: core. A host is reached where one of its addresses is: clients try both families. A region is lost where none of
its relays is reached: every machine has its home in one region, so those whose home is there cannot be relayed to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from ginnel.core.firewall.needs import Role, Transport
from ginnel.core.firewall.verdict import Blocking, Verdict


class Result(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    UNTRIED = "untried"


@dataclass(frozen=True, slots=True)
class Target:
    """What is tried. need: its id in the plan. host: as machines name it, node: a relay's name in the map, region 0:
    not a relay's. service: port and transport."""

    need: str
    role: Role
    host: str
    port: int
    transport: Transport = "tcp"
    node: str = ""
    region: int = 0
    region_code: str = ""

    @property
    def label(self) -> str:
        """Short, for people."""
        return f"{self.node} {self.host}" if self.node else f"{self.role} {self.host}"


@dataclass(frozen=True, slots=True)
class Check:
    """One address of a target ("": the look-up of its name). verdict None: not tried, for the reason in why.
    seconds: all of it."""

    target: Target
    address: str
    verdict: Verdict | None
    why: str = ""
    seconds: float = 0.0

    @property
    def result(self) -> Result:
        if self.verdict is None:
            return Result.UNTRIED
        return Result.PASSED if self.verdict.passed else Result.FAILED

    @property
    def family(self) -> int:
        """4, 6; 0 for the look-up of a name."""
        return 0 if not self.address else 6 if ":" in self.address else 4

    @property
    def text(self) -> str:
        return self.why if self.verdict is None else self.verdict.text

    @property
    def blocking(self) -> Blocking | None:
        return self.verdict.blocking if self.verdict is not None else None


@dataclass(frozen=True, slots=True)
class Reach:
    """All checks of one target."""

    target: Target
    checks: tuple[Check, ...]

    @property
    def result(self) -> Result:
        """A name that DNS does not know, or lies about, hurts nobody where the map has the addresses."""
        results = {check.result for check in self.checks if check.address}
        if Result.PASSED in results:
            return Result.PASSED
        failed = any(check.result is Result.FAILED for check in self.checks)
        return Result.FAILED if failed else Result.UNTRIED

    @property
    def worst(self) -> Check | None:
        """The one that says most of why it is not reached, None where it is."""
        if self.result is Result.PASSED:
            return None
        return min(self.checks, key=_says_little, default=None)


def _says_little(check: Check) -> tuple[int, bool, int]:
    """A name that DNS does not know says less than an address of the map that does not answer, and one that it knows
    nothing."""
    says = (Result.FAILED, Result.UNTRIED, Result.PASSED).index(check.result)
    return says, check.blocking is Blocking.DNS_FAILURE, check.family


@dataclass(frozen=True, slots=True)
class NeedFound:
    """One row of the plan, tried. passed None: nothing could be tried. reaches: its targets."""

    id: str
    optional: bool
    reaches: tuple[Reach, ...]
    why: str = ""

    @property
    def passed(self) -> bool | None:
        results = {reach.result for reach in self.reaches}
        if not results:
            return None
        if results == {Result.UNTRIED}:
            return None
        return Result.FAILED not in results if self.optional else results == {Result.PASSED}

    @property
    def failed(self) -> tuple[Reach, ...]:
        return tuple(reach for reach in self.reaches if reach.result is not Result.PASSED)


@dataclass(frozen=True, slots=True)
class Peer:
    """Another machine of the mesh. home: its home region, 0: none."""

    name: str
    home: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A region of which this host reaches no relay. peers: names of machines at home there. own: this one is too."""

    region: int
    code: str
    name: str
    reaches: tuple[Reach, ...]
    peers: tuple[str, ...]
    own: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """tunnel: by whom and from which port its UDP was tried. complete: False where time ran out before everything was
    tried; limited: True where only some regions were to be. notes: what is not as it should be and hurts nobody yet."""

    needs: tuple[NeedFound, ...]
    lost: tuple[Lost, ...]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    source: str = ""
    tunnel: str = ""
    complete: bool = True
    limited: bool = False

    @property
    def passed(self) -> bool:
        """All that is mandatory was tried and passes."""
        tried = [need.passed is True for need in self.needs if not need.optional]
        return self.complete and not self.lost and bool(tried) and all(tried)

    @property
    def checks(self) -> Iterator[Check]:
        for need in self.needs:
            for reach in need.reaches:
                yield from reach.checks


@dataclass(frozen=True, slots=True)
class Around:
    """What else is known of this mesh. region_names: by number. peers: those with a home. home: this machine's."""

    region_names: dict[int, str] = field(default_factory=dict)
    peers: tuple[Peer, ...] = ()
    home: int = 0


OPTIONAL = ("portal",)
ORDER = ("https", "tunnel", "stun", "portal")


def needs_of(checks: Iterable[Check], *, expected: Iterable[str] = ()) -> tuple[NeedFound, ...]:
    """Grouped by need and target, in the plan's order. expected: needs that have a row even without a check."""
    by_need: dict[str, dict[Target, list[Check]]] = {name: {} for name in expected}
    for check in checks:
        by_need.setdefault(check.target.need, {}).setdefault(check.target, []).append(check)
    found = [
        NeedFound(name, name in OPTIONAL, tuple(Reach(target, tuple(rows)) for target, rows in targets.items()))
        for name, targets in by_need.items()
    ]
    return tuple(sorted(found, key=lambda need: _place(need.id)))


def _place(need: str) -> tuple[int, str]:
    kind = need.partition("-")[0]
    return (ORDER.index(kind) if kind in ORDER else len(ORDER), need)


def lost_regions(needs: Iterable[NeedFound], around: Around) -> tuple[Lost, ...]:
    """Where a client cannot log in to any relay."""
    regions: dict[int, list[Reach]] = {}
    for need in needs:
        if need.id.partition("-")[0] == "https":
            for reach in need.reaches:
                if reach.target.role is Role.RELAY:
                    regions.setdefault(reach.target.region, []).append(reach)
    gone = {number: reaches for number, reaches in sorted(regions.items()) if not _any_passed(reaches)}
    return tuple(_lost(number, reaches, around) for number, reaches in gone.items())


def _any_passed(reaches: list[Reach]) -> bool:
    return any(reach.result is Result.PASSED for reach in reaches)


def _lost(number: int, reaches: list[Reach], around: Around) -> Lost:
    return Lost(
        number,
        reaches[0].target.region_code,
        around.region_names.get(number, ""),
        tuple(reaches),
        tuple(sorted(peer.name for peer in around.peers if peer.home == number)),
        own=around.home == number,
    )


def blockings(reaches: Iterable[Reach]) -> list[tuple[Blocking, int]]:
    """Kinds of blocking, the most frequent first."""
    found = Counter(
        worst.blocking for reach in reaches if (worst := reach.worst) is not None and worst.blocking is not None
    )
    return found.most_common()
