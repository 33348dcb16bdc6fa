"""`ufw status verbose` as a rule set.

Room: core. Source: ufw(8), and what ufw 0.36.2 prints. Its file before.rules lets what is established pass; what else
an administrator has written there is not in this text.
"""

from __future__ import annotations

import re

from ginnel.core.firewall.lint.fields import IP4, IP6, Box, Field, interface
from ginnel.core.firewall.lint.ints import point
from ginnel.core.firewall.lint.model import MAX_RULES, Do, LintError, Rule, RuleSet, Step, Verdict, When
from ginnel.core.firewall.lint.nft_keys import TCP_OR_UDP
from ginnel.core.firewall.lint.nft_rule import doubt
from ginnel.core.firewall.lint.stateful import ends, ports, protocol, stateful

ACTION = re.compile(r"(?P<to>.*?)\s+(?P<action>ALLOW|DENY|REJECT|LIMIT)(?: (?P<way>IN|OUT|FWD))?\s+(?P<source>.*)")
DEFAULT = re.compile(r"Default: (\w+) \(incoming\), (\w+) \(outgoing\)")
ENDINGS = {"ALLOW": Verdict.ACCEPT, "LIMIT": Verdict.ACCEPT, "DENY": Verdict.DROP, "REJECT": Verdict.REJECT}
POLICIES = {"allow": Verdict.ACCEPT, "deny": Verdict.DROP, "reject": Verdict.REJECT, "disabled": Verdict.ACCEPT}
NOT_A_STATUS = "expected the output of `ufw status verbose`"


def parse(text: str) -> RuleSet:
    """Raises LintError."""
    if not re.search(r"^Status: (in)?active", text, re.MULTILINE):
        raise LintError(NOT_A_STATUS)
    if re.search(r"^Status: inactive", text, re.MULTILINE):
        got = stateful("ufw", [], [], (Verdict.ACCEPT, Verdict.ACCEPT))
        got.notes.append("ufw is not active: it stops nothing")
        return got
    told = DEFAULT.search(text)
    unclear = (Verdict.UNCLEAR, Verdict.UNCLEAR)
    policies = (POLICIES.get(told[1], unclear[0]), POLICIES.get(told[2], unclear[0])) if told else unclear
    inward, outward = _rules(text)
    got = stateful("ufw", inward, outward, policies)
    if not told:
        got.notes.append("the defaults are not in it: give `ufw status verbose`")
    got.notes.append(
        "/etc/ufw/before.rules and after.rules are not in this text: iptables-save and ip6tables-save have all rules"
    )
    return got


def _rules(text: str) -> tuple[list[Rule], list[Rule]]:
    lines = text.splitlines()
    if len(lines) > MAX_RULES:
        raise LintError(f"more than {MAX_RULES} rules")
    inward: list[Rule] = []
    outward: list[Rule] = []
    for line in lines:
        found = ACTION.fullmatch(line.strip())
        if found is None or found["way"] == "FWD" or line.startswith("Default:"):
            continue
        (outward if found["way"] == "OUT" else inward).append(_rule(found, re.sub(r"\s+", " ", line.strip())))
    return inward, outward


def _rule(found: re.Match[str], text: str) -> Rule:
    out = found["way"] == "OUT"
    steps: list[Step] = []
    try:
        case: Box = {}
        source = re.sub(r"\s+(#.*|\(log(-all)?\))$", "", found["source"].strip())
        for side, is_source in ((found["to"].strip(), False), (source, True)):
            case |= _side(side, is_source=is_source, out=out)
        steps.append(When((case,)))
    except ValueError:
        steps.append(doubt("?", text))
    if found["action"] == "LIMIT":
        steps.append(doubt("%", "limit 6 connections/30 seconds"))
    return Rule(text, (*steps, Do(ENDINGS[found["action"]])))


def _side(text: str, *, is_source: bool, out: bool) -> Box:
    """ "22/tcp (v6)", "10.0.0.1 53/udp", "80,443/tcp (Nginx Full)", "Anywhere on eth0". Raises ValueError."""
    six = text.endswith(" (v6)") or " (v6) on " in text
    text, _, device = text.replace(" (v6)", "").partition(" on ")
    text = re.sub(r" \([^)]*\)$", "", text)
    words = text.split()
    box: Box = {}
    if words and (words[0] == "Anywhere" or "." in words[0] or words[0].count(":") > 1):
        first, slash, of_it = words.pop(0).partition("/")
        if first != "Anywhere":
            box |= ends(first + slash + of_it, source=is_source)
        elif of_it:
            box[Field.L4PROTO] = protocol(of_it) or ()
        box.setdefault(Field.NFPROTO, point(IP6 if six else IP4))
    for word in words:
        box |= _service(word, is_source=is_source)
        box.setdefault(Field.NFPROTO, point(IP6 if six else IP4))
    if device:
        box[Field.OIF if out else Field.IIF] = interface(device)
    return box


def _service(text: str, *, is_source: bool) -> Box:
    numbers, _, name = text.partition("/")
    values, transport = ports(numbers.split(",")), protocol(name)
    box: Box = {Field.L4PROTO: transport or TCP_OR_UDP}
    if values is not None:
        box[Field.SPORT if is_source else Field.DPORT] = values
    return box
