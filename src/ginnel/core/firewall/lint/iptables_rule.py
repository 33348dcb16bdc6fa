"""One rule of iptables as steps: its matches in order, then its target.

Room: core. Source: iptables(8), iptables-extensions(8).
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network

from ginnel.core.firewall.lint.fields import (
    ALL,
    DIRECTIONS,
    FLAGS,
    PACKET_TYPES,
    PROTOCOLS,
    STATES,
    TYPES,
    Box,
    Field,
    interface,
    network,
)
from ginnel.core.firewall.lint.ints import Ints, joined, point, span
from ginnel.core.firewall.lint.iptables_target import UnknownOption, Words, target
from ginnel.core.firewall.lint.model import Do, InSet, Masked, Step, Verdict, When
from ginnel.core.firewall.lint.nft_keys import TCP_OR_UDP
from ginnel.core.firewall.lint.nft_rule import doubt
from ginnel.core.firewall.lint.nft_values import PORTS

RATES = ("limit", "hashlimit", "connlimit", "quota", "statistic", "recent", "connbytes", "nth", "random")
ENDS = ("-m", "-j", "-g", "--jump", "--goto", "--match")


def steps(words: list[str], version: int) -> tuple[Step, ...]:
    """words: behind `-A CHAIN`. What is not understood becomes a match that may go both ways."""
    rest, got, ending, module = Words(words), list[Step](), list[Step](), ""
    while rest:
        negated = rest.peek() == "!"
        if negated:
            rest.take()
        try:
            option = rest.take()
            if option in ("-m", "--match"):
                module = rest.take()
                if module in RATES:
                    got.append(doubt("%", _whole(module, rest)))
                continue
            if option in ("-j", "--jump", "-g", "--goto"):
                ending = target(rest.take(), rest, final=option in ("-g", "--goto"))
                break
            got += _match(option, module, negated, rest, version)
        except UnknownOption:
            ending = [Do(Verdict.UNCLEAR)]
            break
    return (*got, *ending)


def _whole(module: str, rest: Words) -> str:
    """A module's options up to the next one or the target: for matches of which only the name matters."""
    got = [module]
    while rest and rest.peek() not in ENDS:
        got.append(rest.take())
    return " ".join(got)


def _match(option: str, module: str, negated: bool, rest: Words, version: int) -> list[Step]:
    handler = OPTIONS.get(option)
    if option == "--comment":
        rest.take()
        return []
    if option == "--match-set":
        return _in_set(rest, negated)
    if handler is None or (module in FOREIGN and option in ("--mark", "--set")):
        text = " ".join([f"-m {module}" if module else "", option, *rest.until_option()]).strip()
        return [_either(f"?{text}", negated)]
    argument = "" if option in BARE else rest.take()
    if option == "--tcp-flags":
        argument += " " + rest.take()
    try:
        return handler(argument, negated, version)
    except (ValueError, KeyError):
        return [_either(f"?{option} {argument}", negated)]


def _in_set(rest: Words, negated: bool) -> list[Step]:
    name, sides = rest.take(), tuple(rest.take().split(","))
    more = []
    while rest and rest.peek() not in ENDS:
        more.append(rest.take())
    text = " ".join(["-m set", *(["!"] if negated else []), "--match-set", name, ",".join(sides), *more])
    if "--return-nomatch" in more or not set(sides) <= {"src", "dst"}:
        return [doubt("?", text)]
    counting = [word for word in more if word.startswith(("--packets", "--bytes"))]
    return [InSet(name, sides, negated), *([doubt("?", text)] if counting else [])]


def _either(name: str, negated: bool) -> When:
    return When(({name: point(1)},), negated)


# --- matches: each raises ValueError or KeyError for what it does not know ----------------------------------------

Handler = Callable[[str, bool, int], list[Step]]


def _field(field: Field, values: Ints, negated: bool) -> list[Step]:
    return [When(({field: values},) if values else (), negated)]


def _address(side: str) -> Handler:
    def handle(argument: str, negated: bool, version: int) -> list[Step]:
        field = Field(f"{'ip' if version == 4 else 'ip6'} {side}")
        return _field(field, joined(i for part in argument.split(",") for i in _network(part, version)), negated)

    return handle


def _network(text: str, version: int) -> Ints:
    found = ip_network(text, strict=False)
    if found.version != version:
        raise ValueError(text)
    return network(found)


def _range(side: str) -> Handler:
    def handle(argument: str, negated: bool, version: int) -> list[Step]:
        low, _, high = argument.partition("-")
        first, last = ip_address(low), ip_address(high or low)
        if first.version != version or last.version != version:
            raise ValueError(argument)
        return _field(Field(f"{'ip' if version == 4 else 'ip6'} {side}"), span(int(first), int(last)), negated)

    return handle


def _interface(field: Field) -> Handler:
    def handle(argument: str, negated: bool, _: int) -> list[Step]:
        name = argument[:-1] + "*" if argument.endswith("+") else argument
        return _field(field, interface(name), negated)

    return handle


def _protocol(argument: str, negated: bool, _: int) -> list[Step]:
    if argument in ("all", "0"):
        return _field(Field.L4PROTO, ALL[Field.L4PROTO], negated)
    number = int(argument) if argument.isdigit() else PROTOCOLS[argument]
    return _field(Field.L4PROTO, point(number), negated)


def _ports(*fields: Field) -> Handler:
    def handle(argument: str, negated: bool, _: int) -> list[Step]:
        values = joined(i for part in argument.split(",") for i in _port_range(part))
        cases: tuple[Box, ...] = tuple({Field.L4PROTO: TCP_OR_UDP, field: values} for field in fields)
        return [When(cases, negated)]

    return handle


def _port_range(text: str) -> Ints:
    low, colon, high = text.partition(":")
    first = _port(low) if low else 0
    return span(first, (_port(high) if high else 65535) if colon else first)


def _port(text: str) -> int:
    return int(text) if text.isdigit() else PORTS[text]


def _states(argument: str, negated: bool, _: int) -> list[Step]:
    virtual = {"SNAT", "DNAT"}  # of no packet that meets no translation
    names = [name for name in argument.split(",") if name not in virtual]
    return _field(Field.CT_STATE, joined(i for name in names for i in point(STATES[name.lower()])), negated)


def _direction(argument: str, negated: bool, _: int) -> list[Step]:
    return _field(Field.CT_DIRECTION, point(DIRECTIONS[argument.lower()]), negated)


def _flags(argument: str, negated: bool, _: int) -> list[Step]:
    mask, wanted = (_flag_bits(part) for part in argument.split())
    return [When(({Field.L4PROTO: point(6)},)), Masked(Field.TCP_FLAGS, mask, wanted, negated)]


def _flag_bits(text: str) -> int:
    if text.startswith("0x"):
        return int(text, 16)
    return (
        {"ALL": 63, "NONE": 0}[text] if text in ("ALL", "NONE") else sum(FLAGS[n.lower()] for n in set(text.split(",")))
    )


def _syn(_: str, negated: bool, version: int) -> list[Step]:
    return _flags("FIN,SYN,RST,ACK SYN", negated, version)


def _mark(field: Field) -> Handler:
    def handle(argument: str, negated: bool, _: int) -> list[Step]:
        value, _slash, mask = argument.partition("/")
        return [Masked(field, int(mask or "0xffffffff", 0), int(value, 0), negated)]

    return handle


def _type(field: Field) -> Handler:
    def handle(argument: str, negated: bool, _: int) -> list[Step]:
        return _field(field, joined(i for name in argument.split(",") for i in point(TYPES[name.lower()])), negated)

    return handle


def _packet_type(argument: str, negated: bool, _: int) -> list[Step]:
    return _field(Field.PACKET_TYPE, point(PACKET_TYPES[argument.lower()]), negated)


def _uid(argument: str, negated: bool, _: int) -> list[Step]:
    low, _dash, high = argument.partition("-")
    return _field(Field.SOCKET_UID, span(int(low), int(high or low)), negated)


def _never(_: str, negated: bool, __: int) -> list[Step]:
    """ICMP types: no packet of the mesh, whether negated or not (the protocol is asked for before)."""
    return [] if negated else [When(())]


def _without(_: str, __: bool, ___: int) -> list[Step]:
    """A routing header: no packet of the mesh has one, and the match asks for it negated too."""
    return [When(())]


def _route_back(_: str, negated: bool, __: int) -> list[Step]:
    """-m rpfilter: matches where routes are in order, which is taken for granted."""
    return [When(())] if negated else []


def _inverted(_: str, __: bool, ___: int) -> list[Step]:
    return [When(())]


BARE = ("--syn", "--loose", "--validmark", "--accept-local", "--invert")
OPTIONS: dict[str, Handler] = {
    "-s": _address("saddr"), "--source": _address("saddr"), "-d": _address("daddr"), "--destination": _address("daddr"),
    "--src-range": _range("saddr"), "--dst-range": _range("daddr"),
    "-i": _interface(Field.IIF), "--in-interface": _interface(Field.IIF),
    "-o": _interface(Field.OIF), "--out-interface": _interface(Field.OIF),
    "-p": _protocol, "--protocol": _protocol,
    "--sport": _ports(Field.SPORT), "--dport": _ports(Field.DPORT), "--sports": _ports(Field.SPORT),
    "--dports": _ports(Field.DPORT), "--ports": _ports(Field.SPORT, Field.DPORT),
    "--source-port": _ports(Field.SPORT), "--destination-port": _ports(Field.DPORT),
    "--ctstate": _states, "--state": _states, "--ctdir": _direction,
    "--tcp-flags": _flags, "--syn": _syn, "--mark": _mark(Field.MARK),
    "--dst-type": _type(Field.TO_TYPE), "--src-type": _type(Field.FROM_TYPE), "--pkt-type": _packet_type,
    "--uid-owner": _uid, "--icmp-type": _never, "--icmpv6-type": _never,
    "--rt-type": _without, "--rt-segsleft": _without,
    "--loose": lambda *_: [], "--validmark": lambda *_: [], "--accept-local": lambda *_: [], "--invert": _inverted,
}  # fmt: skip
FOREIGN = ("connmark", "connlabel", "realm", "recent", "socket")
"""Modules whose options have a name that another module's has too."""
