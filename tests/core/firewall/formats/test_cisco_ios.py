"""Access lists without state, judged by a twin that reads them line by line as the router does: what nothing permits is
denied."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from ginnel.core.firewall.formats.check import CannotExpress
from ginnel.core.firewall.formats.table import FORMATS
from ginnel.core.firewall.needs import Plan
from tests.core.firewall.formats.plans import ANY_PORT, PINNED, RECOMMENDED

IOS = FORMATS["cisco-ios"]
ME, RELAY, STRANGER = (
    {4: "10.1.1.5", 6: "2001:db8:a::5"},
    {4: "203.0.113.1", 6: "2001:db8:1::1"},
    {4: "9.9.9.9", 6: "2600::9"},
)


@dataclass(frozen=True, slots=True)
class Packet:
    transport: str
    source: tuple[str, int]
    to: tuple[str, int]
    begins: bool = False  # a SYN alone


def lists(plan: Plan) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in IOS.render(plan).splitlines():
        if line.startswith(("ip access-list extended ", "ipv6 access-list ")):
            current = found.setdefault(line.rsplit(" ", 1)[-1], [])
        elif line.startswith(" "):
            current.append(line.strip())
        else:
            assert line == "exit" or line.startswith(("!", "no ip")), line
    return found


def permits(rules: list[str], packet: Packet) -> bool:
    return any(matches(shlex.split(rule), packet) for rule in rules if rule.startswith("permit"))


def matches(words: list[str], packet: Packet) -> bool:
    words = words[1:]
    if words.pop(0) != packet.transport:
        return False
    for address, port in (packet.source, packet.to):
        if words.pop(0) == "host" and ip_address(words.pop(0)) != ip_address(address):
            return False
        if words[:1] == ["eq"]:
            words.pop(0)
            if int(words.pop(0)) != port:
                return False
    assert words in ([], ["established"])
    return not (words and packet.begins)


def both_ways(plan: Plan, family: int, packet: Packet) -> tuple[bool, bool]:
    """Whether it leaves, and whether its answer comes back."""
    held = lists(plan)
    answer = Packet(packet.transport, packet.to, packet.source)
    return permits(held[f"GINNEL-OUT{family}"], packet), permits(held[f"GINNEL-BACK{family}"], answer)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("plan", [RECOMMENDED, PINNED], ids=["recommended", "pinned"])
def test_what_the_plan_names_leaves_and_its_answers_come_back(plan: Plan, family: int) -> None:
    me, relay, stranger = ME[family], RELAY[family], STRANGER[family]
    for packet in (
        Packet("tcp", (me, 50000), (relay, 443), begins=True),
        Packet("tcp", (me, 50000), (relay, 80), begins=True),
        Packet("udp", (me, 50000), (relay, 3478)),
        Packet("udp", (me, 41641), (stranger, 60123)),
    ):
        assert both_ways(plan, family, packet) == (True, True)


@pytest.mark.parametrize("family", [4, 6])
def test_nothing_else_leaves_and_no_stranger_begins_a_connection(family: int) -> None:
    me, stranger = ME[family], STRANGER[family]
    held = lists(RECOMMENDED)
    assert not permits(held[f"GINNEL-OUT{family}"], Packet("tcp", (me, 50000), (stranger, 22), begins=True))
    assert not permits(held[f"GINNEL-OUT{family}"], Packet("udp", (me, 50000), (stranger, 53)))
    back = held[f"GINNEL-BACK{family}"]
    assert not permits(back, Packet("tcp", (stranger, 443), (me, 22), begins=True))
    assert not permits(back, Packet("udp", (stranger, 53), (me, 50000)))
    assert permits(back, Packet("udp", (stranger, 60123), (me, 41641)))


def test_machines_find_routers_and_neighbours_behind_the_lists() -> None:
    """IOS lets neighbour discovery pass by itself, a question for routers it does not."""
    held = lists(RECOMMENDED)
    assert {"permit icmp any any router-solicitation", "permit icmp any any nd-ns"} <= set(held["GINNEL-OUT6"])
    assert all("permit icmp any any packet-too-big" in rules for rules in held.values())


@pytest.mark.parametrize("plan", [RECOMMENDED, PINNED], ids=["recommended", "pinned"])
def test_no_entry_is_there_twice_and_each_list_is_left_before_the_next(plan: Plan) -> None:
    for rules in lists(plan).values():
        assert len(set(rules)) == len(rules)
    commands = [line for line in IOS.render(plan).splitlines() if line[0] not in "! "]
    assert [word.split()[0] for word in commands] == ["no", "ip", "exit"] * 2 + ["no", "ipv6", "exit"] * 2


@pytest.mark.parametrize("family", [4, 6])
def test_pinned_lists_let_out_to_pinned_hosts_alone(family: int) -> None:
    packet = Packet("tcp", (ME[family], 50000), (STRANGER[family], 443), begins=True)
    assert both_ways(PINNED, family, packet) == (False, False)


def test_without_a_fixed_port_it_is_refused_since_all_udp_would_come_back() -> None:
    with pytest.raises(CannotExpress, match="keep no state"):
        IOS.render(ANY_PORT)
