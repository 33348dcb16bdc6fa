"""`tests`: what the policy itself says that it must accept and deny.

Room: core. No sockets, clocks, files, randomness or logs come in.
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.core.control.policy.aliases import TEST_SOURCES, TEST_TARGETS, Names, split_target
from ginnel.core.control.policy.model import ALL_PORTS, Atom, Expectation, PolicyTest, Ports
from ginnel.core.control.policy.ports import PROTOCOLS, WITH_PORTS, read_protocol, wrong
from ginnel.core.control.policy.shape import needed, read_distinct, read_members, read_text
from ginnel.wire.hujson import Value


def read_test(value: Value, names: Names) -> PolicyTest:
    members = read_members(value, 'an item of "tests"', ("src", "proto", "accept", "deny"))
    source = needed(members, "src", value)
    text = read_text(source, '"src" of a test')
    atoms = names.read(text, source, TEST_SOURCES, '"src" of a test')
    _check_single(atoms, text, source)
    protocols = (read_protocol(members["proto"].value),) if "proto" in members else (PROTOCOLS["tcp"], PROTOCOLS["udp"])
    expectations: list[Expectation] = []
    for name in ("accept", "deny"):
        if name in members:
            expectations += _expectations(members[name].value, name, names, protocols)
    if not expectations:
        raise wrong(value, 'this test expects nothing: give it "accept" or "deny"')
    return PolicyTest(atoms, text, protocols, tuple(expectations), value.line)


def _expectations(value: Value, name: str, names: Names, protocols: tuple[int, ...]) -> Iterator[Expectation]:
    for text, item in read_distinct(value, f'"{name}"'):
        who, ports = split_target(text, item)
        atoms = names.read(who, item, TEST_TARGETS, f'"{name}" of a test')
        _check_single(atoms, who, item)
        yield Expectation(atoms, _single_port(ports, protocols, item), name == "accept", text, item.line)


def _check_single(atoms: frozenset[Atom], text: str, item: Value) -> None:
    for atom in atoms:
        if atom.net is not None and atom.net.num_addresses > 1:
            raise wrong(item, f"{text!r} is the prefix {atom.net}: a test needs one address")


def _single_port(ports: Ports, protocols: tuple[int, ...], item: Value) -> int | None:
    with_ports = WITH_PORTS.issuperset(protocols)
    if with_ports and (len(ports) != 1 or ports[0][0] != ports[0][1]):
        raise wrong(item, "a test needs one port, as in tag:web:443")
    if not with_ports and ports != ALL_PORTS:
        raise wrong(item, f"protocol {protocols[0]} has no ports: write * for the port")
    return ports[0][0] if with_ports else None
