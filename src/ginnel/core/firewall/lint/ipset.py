"""The contents of ipsets, as cases of a match.

Room: core. Source: ipset(8); what the kernel makes of an entry: net/netfilter/ipset/ip_set_hash_gen.h. The longest
network that an address is in decides, so that one marked `nomatch` takes it out of a wider one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from ginnel.core.firewall.lint.fields import PROTOCOLS, Box, Field, interface, network
from ginnel.core.firewall.lint.ints import Ints, joined, minus, point, span

DEEPEST = 2  # list:set holds sets, no lists
PORTS_OF = ("tcp", "udp")
"""The mesh's own; entries of others match no packet of it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """parts: what stands between the commas. nomatch: an exception. wildcard: the interface is the beginning of one."""

    parts: tuple[str, ...]
    nomatch: bool = False
    wildcard: bool = False


@dataclass(slots=True)
class IpSet:
    """kind: "hash:ip,port". family: 4, 6, or 0 either. netmask: of the addresses in it, None: whole ones. odd: it holds
    what is not understood. changing: entries go by themselves."""

    kind: str
    family: int = 4
    netmask: int | None = None
    odd: bool = False
    changing: bool = False
    entries: list[Entry] = field(default_factory=list)

    @property
    def dimensions(self) -> tuple[str, ...]:
        return tuple(self.kind.partition(":")[2].split(","))


class IpSets:
    """All that a file has, by name."""

    def __init__(self, by_name: dict[str, IpSet] | None = None) -> None:
        self.by_name = by_name if by_name is not None else {}
        self._cases: dict[tuple[str, tuple[str, ...], int], tuple[Box, ...] | None] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def cases(self, name: str, sides: tuple[str, ...], version: int) -> tuple[Box, ...] | None:
        """The packets of this IP version of which these sides ("src", "dst") are in the set; None: nobody knows."""
        key = name, sides, version
        if key not in self._cases:
            try:
                self._cases[key] = tuple(self._read(name, sides, version, 0))
            except (ValueError, KeyError, IndexError):
                self._cases[key] = None
        return self._cases[key]

    def _read(self, name: str, sides: tuple[str, ...], version: int, depth: int) -> list[Box]:
        found = self.by_name[name]
        if found.odd or depth == DEEPEST:
            raise ValueError(name)
        if found.kind == "list:set":
            return [box for entry in found.entries for box in self._read(entry.parts[0], sides, version, depth + 1)]
        if len(sides) < len(found.dimensions) or found.family not in (0, version):
            return []
        return _Reading(found, sides, version).cases()


@dataclass(frozen=True, slots=True)
class _Reading:
    set: IpSet
    sides: tuple[str, ...]
    version: int

    def cases(self) -> list[Box]:
        """Entries that differ by one dimension alone are one case."""
        main = _main(self.set.dimensions, excepting=any(entry.nomatch for entry in self.set.entries))
        alike: dict[tuple[str, ...], tuple[Box, list[tuple[Ints, bool]]]] = {}
        for entry in self.set.entries:
            if len(entry.parts) != len(self.set.dimensions):
                raise ValueError(entry)
            others = self._others(entry, main)
            if others is not None:
                rest = (*entry.parts[:main], *entry.parts[main + 1 :], "*" if entry.wildcard else "")
                alike.setdefault(rest, (others, []))[1].append((self._one(entry, main), entry.nomatch))
        name = self._field(main)
        found = [{**others, name: values} for others, parts in alike.values() if (values := _decided(parts))]
        for at in range(len(self.set.dimensions)):
            found = _joined_by(self._field(at), found)
        return found

    def _others(self, entry: Entry, main: int) -> Box | None:
        """All but the main dimension; None: of no packet of the mesh."""
        box: Box = {}
        for at, dimension in enumerate(self.set.dimensions):
            if dimension == "port" and ":" in entry.parts[at]:
                protocol = entry.parts[at].partition(":")[0]
                if protocol not in PORTS_OF:
                    return None
                box[Field.L4PROTO] = point(PROTOCOLS[protocol])
            elif dimension == "port":
                box[Field.L4PROTO] = joined((PROTOCOLS[name], PROTOCOLS[name]) for name in PORTS_OF)
            if at != main:
                if (name := self._field(at)) in box or name == self._field(main):
                    raise ValueError(entry)  # one and the same field twice
                box[name] = self._one(entry, at)
        return box

    def _field(self, at: int) -> Field:
        source = self.sides[at] == "src"
        match self.set.dimensions[at]:
            case "ip" | "net":
                return Field(f"{'ip' if self.version == 4 else 'ip6'} {'saddr' if source else 'daddr'}")
            case "port":
                return Field.SPORT if source else Field.DPORT
            case "iface":
                return Field.IIF if source else Field.OIF
        raise ValueError(self.set.kind)

    def _one(self, entry: Entry, at: int) -> Ints:
        text = entry.parts[at]
        match self.set.dimensions[at]:
            case "ip" | "net":
                return _addresses(text, self.version, self.set.netmask)
            case "port":
                low, _, high = text.rpartition(":")[2].partition("-")
                return span(int(low), int(high or low))
        if ":" in text:  # physdev: of a bridge
            raise ValueError(text)
        return interface(text + "*" if entry.wildcard else text)


def _joined_by(field: Field, boxes: list[Box]) -> list[Box]:
    """Those that differ by this field alone are one: ipset saves a range of ports as so many entries."""
    alike: dict[tuple[tuple[str, Ints], ...], list[Ints]] = {}
    for box in boxes:
        alike.setdefault(tuple((f, v) for f, v in box.items() if f != field), []).append(box[field])
    return [{**dict(rest), field: joined(i for values in parts for i in values)} for rest, parts in alike.items()]


def _main(dimensions: Sequence[str], *, excepting: bool) -> int:
    """The dimension by which entries are put together: the networks', where one of them may be an exception."""
    nets = [at for at, name in enumerate(dimensions) if name == "net"]
    if excepting and len(nets) != 1:
        raise ValueError(dimensions)
    return nets[0] if nets else 0


def _addresses(text: str, version: int, netmask: int | None) -> Ints:
    low, dash, high = text.partition("-")
    if dash:
        got = span(int(ip_address(low)), int(ip_address(high)))
        family = ip_address(low).version
    else:
        found = ip_network(f"{text}/{netmask}" if netmask is not None else text, strict=False)
        got, family = network(found), found.version
    if family != version or (dash and netmask is not None):
        raise ValueError(text)
    return got


def _decided(parts: list[tuple[Ints, bool]]) -> Ints:
    """Wider networks first, so that the narrower ones have the last word."""
    if not any(nomatch for _, nomatch in parts):
        return joined(i for values, _ in parts for i in values)
    got: Ints = ()
    widths = sorted({_width(values) for values, _ in parts}, reverse=True)
    for width in widths:
        level = [(values, nomatch) for values, nomatch in parts if _width(values) == width]
        got = joined([*got, *_of(level, nomatch=False)])
        got = minus(got, _of(level, nomatch=True))
    return got


def _of(level: Iterable[tuple[Ints, bool]], *, nomatch: bool) -> Ints:
    return joined(i for values, is_not in level if is_not == nomatch for i in values)


def _width(values: Ints) -> int:
    return values[0][1] - values[0][0]
