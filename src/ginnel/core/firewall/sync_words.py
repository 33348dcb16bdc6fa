"""The words of `firewall sync`: what is told to the machine in `sync.py`, what it orders, what outlives the process.

Room: core.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ginnel.words import IpAddress

Family = Literal[4, 6]
FAMILIES: tuple[Family, ...] = (4, 6)

TTL_LEAST = 15.0
TTL_MOST = 900.0
"""Every name is asked for again within a quarter of an hour, whatever its TTL says."""
LIST_EVERY = 60.0
LINGER = 300.0
"""How long an address stays after it left the answers, at the least: clients may hold an old map."""
READ_EVERY = 60.0
"""What somebody else takes out of the set is put back within this."""
AT_ONCE = 64
"""Questions open at one time."""
BATCH = 4096
MAX_NAMES = 65_536
MAX_ADDRESSES = 65_536
"""In the set. ipset's and firewalld's own limit where none is given is the same."""
MAX_PER_ANSWER = 256


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds. `ttl_least`, `ttl_most`: the bounds of what DNS may say. `families`: those the set can hold.
    `batch`: addresses in one order."""

    families: tuple[Family, ...] = FAMILIES
    list_every: float = LIST_EVERY
    ttl_least: float = TTL_LEAST
    ttl_most: float = TTL_MOST
    linger: float = LINGER
    read_every: float = READ_EVERY
    batch: int = BATCH

    def bounded(self, ttl: float) -> float:
        return min(max(ttl, self.ttl_least), self.ttl_most)


def for_whom(name: str) -> str:
    """name: "" of a host that has addresses alone."""
    return f"for {name}" if name else "as an address without a name"


class Question(NamedTuple):
    """Who vouches for an address: an answer to (name, family), or the list itself where the family is 0."""

    name: str
    family: Literal[0, 4, 6]

    def __str__(self) -> str:
        return f"{self.name or 'the list'} {({4: 'A', 6: 'AAAA'}).get(self.family, '')}".rstrip()


@dataclass(frozen=True, slots=True)
class Wanted:
    """One line of a list: addresses that it names itself, and the families to ask DNS for. `needed`: False for a name
    that may not exist at all, as `derpN-all` where nobody serves it."""

    name: str
    addresses: frozenset[IpAddress] = frozenset()
    ask: tuple[Family, ...] = ()
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Listing:
    """A good answer of the server, the daemon or the feed. `serial`: the feed's, else 0."""

    wanted: tuple[Wanted, ...]
    serial: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS said. `addresses`: those that may stand in a set; () when the name has none of this family.
    `refused`: what may not, such as private addresses: then the answer adds and takes nothing away."""

    addresses: frozenset[IpAddress]
    ttl: float
    refused: tuple[str, ...] = ()


# --- orders ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AskList:
    """Answer by `listed` or `unlisted`."""


@dataclass(frozen=True, slots=True)
class AskDns:
    """Answer by `resolved` or `unresolved`, within seconds."""

    question: Question


@dataclass(frozen=True, slots=True)
class ReadSet:
    """Answer by `held` or `unread`."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Change the set; either adds or removes is empty. Each address with the reason. Answer by `applied` or
    `not_applied`."""

    adds: Mapping[IpAddress, str] = field(default_factory=dict)
    removes: Mapping[IpAddress, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Save:
    """Write this down before what follows is performed."""

    saved: Saved


@dataclass(frozen=True, slots=True)
class Tell:
    """Worth a line in the log. `kind`: for counters, such as `dns-failed`."""

    kind: str
    text: str


Action = AskList | AskDns | ReadSet | Apply | Save | Tell


# --- what outlives the process -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SavedLeaving:
    """`left`: seconds it had still to stay when this was written. `stranger`: it was found in the set. `of`: who named
    it and was not asked any longer."""

    address: IpAddress
    left: float
    question: Question
    why: str = ""
    stranger: bool = False
    of: frozenset[Question] = frozenset()


@dataclass(frozen=True, slots=True)
class Saved:
    """Last good state. `vouched`: what each question was answered with, and for how long that was good. `rotating`: how
    long stays what is left out by answers that differ each time."""

    serial: int = 0
    vouched: tuple[tuple[Question, frozenset[IpAddress], float], ...] = ()
    leaving: tuple[SavedLeaving, ...] = ()
    rotating: tuple[tuple[Question, float], ...] = ()


def sorted_addresses(addresses: Iterable[IpAddress]) -> list[IpAddress]:
    return sorted(addresses, key=lambda ip: (ip.version, ip.packed))
