"""FortiGate: names that fit, groups whole, lines that a console takes."""

from __future__ import annotations

import re

import pytest

from ginnel.core.firewall.formats.table import FORMATS
from tests.core.firewall.formats.plans import PINNED, many_regions

FORTIGATE = FORMATS["fortigate"]


def groups(text: str) -> dict[tuple[str, str], list[str]]:
    """The members of each group, as FortiOS adds them up: `set` begins anew."""
    found: dict[tuple[str, str], list[str]] = {}
    section = name = ""
    for line in map(str.strip, text.splitlines()):
        verb, _, rest = line.partition(" ")
        if verb == "config":
            section = rest
        elif verb == "edit":
            name = rest.strip('"')
        elif verb in ("set", "append") and rest.startswith("member "):
            former = found.get((section, name), []) if verb == "append" else []
            found[section, name] = former + re.findall(r'"([^"]+)"', rest)
    return found


@pytest.mark.parametrize("count", [1, 19, 20, 21, 200, 201, 450])
def test_groups_hold_every_name_once_whatever_their_number(count: int) -> None:
    text = FORTIGATE.render(many_regions(count))
    for section in ("firewall addrgrp", "firewall addrgrp6"):
        held = {name: members for (where, name), members in groups(text).items() if where == section}
        https = [member for name, members in held.items() if name.startswith("ginnel-https-") for member in members]
        assert sorted(https) == sorted(f"ginnel-derp{number}-all.example.com" for number in range(1, count + 1))
        assert max(map(len, held.values())) <= 200
        assert all(f'"{name}"' in text.partition("config firewall policy")[2] for name in held)
    assert max(map(len, text.splitlines())) < 3_000


def test_names_are_as_long_as_fortios_takes() -> None:
    for name in re.findall(r'set name "([^"]+)"', FORTIGATE.render(PINNED)):
        assert len(name) <= 35
    for name in re.findall(r'edit "([^"]+)"', FORTIGATE.render(PINNED)):
        assert len(name) <= 79
