"""`ipset save` as contents of sets.

Room: core. Source: ipset(8), and what ipset 7.17 prints. It may stand in a file of its own or in that
of `iptables-save`.
"""

from __future__ import annotations

import shlex

from ginnel.core.firewall.lint.ipset import Entry, IpSet, IpSets
from ginnel.core.firewall.lint.model import MAX_ELEMENTS, LintError

VERBS = ("create ", "add ")
NOT_A_SAVE = "expected the output of `ipset save`"
FAMILIES = {"inet": 4, "inet6": 6}
EITHER = ("list:set", "bitmap:port")


def apart(text: str) -> tuple[str, str]:
    """(what ipset has saved, the rest, in which its lines are empty)."""
    if not any(text.startswith(verb) or f"\n{verb}" in text for verb in VERBS):
        return "", text
    mine, rest = [], []
    for line in text.splitlines():
        is_mine = line.startswith(VERBS)
        mine += [line] if is_mine else []
        rest.append("" if is_mine else line)
    return "\n".join(mine), "\n".join(rest)


def parse(text: str) -> IpSets:
    """Raises LintError."""
    got, count = IpSets(), 0
    for line in text.splitlines():
        words = _words(line)
        match words:
            case []:
                continue
            case ["create", name, kind, *options]:
                got.by_name[name] = _created(kind, options)
            case ["add", name, element, *options] if name in got:
                count += 1
                got.by_name[name].entries.append(_entry(element, options))
            case _:
                raise LintError(f"{NOT_A_SAVE}, a line is not of it: {line[:60]!r}")
    if count > MAX_ELEMENTS:
        raise LintError(f"more than {MAX_ELEMENTS} entries in ipsets")
    return got


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line) if '"' in line else line.split()
    except ValueError:
        raise LintError(f"{NOT_A_SAVE}, a quote does not end: {line[:60]!r}") from None


def _created(kind: str, options: list[str]) -> IpSet:
    family = 0 if kind in EITHER else FAMILIES.get(_behind(options, "family") or "inet", 4)
    netmask = _behind(options, "netmask")
    odd = "bitmask" in options or "mac" in kind or "mark" in kind or bool(netmask and not netmask.isdigit())
    return IpSet(kind, family, int(netmask) if netmask and netmask.isdigit() else None, odd, "timeout" in options)


def _behind(options: list[str], name: str) -> str:
    return options[options.index(name) + 1] if name in options[:-1] else ""


def _entry(element: str, options: list[str]) -> Entry:
    return Entry(tuple(element.split(",")), "nomatch" in options, "wildcard" in options)
