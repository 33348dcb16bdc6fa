"""`nft -j list ruleset` as a rule set.

Room: core. Source: libnftables-json(5), and what nft 1.0.6 prints. Tables of bridges and ARP hold no packet of ours.
Rules that iptables-nft has made come as `xt` expressions without their content: such a match is not understood.
"""

from __future__ import annotations

import json
from typing import Any

from ginnel.core.firewall.lint.fields import interface
from ginnel.core.firewall.lint.ints import Ints, joined
from ginnel.core.firewall.lint.model import MAX_ELEMENTS, MAX_RULES, Chain, LintError, Rule, RuleSet, Verdict
from ginnel.core.firewall.lint.nft_rule import Sets, steps
from ginnel.core.firewall.lint.nft_text import rule_text

FAMILIES = {"ip": {4}, "ip6": {6}, "inet": {4, 6}, "netdev": {4, 6}}
PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
NOT_A_TABLE = "expected the output of `nft -j list ruleset`"


def parse(text: str) -> RuleSet:
    """Raises LintError."""
    try:
        found = json.loads(text)
        objects = found["nftables"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise LintError(NOT_A_TABLE) from None
    if not isinstance(objects, list):
        raise LintError(NOT_A_TABLE)
    try:
        return _rules([each for each in objects if isinstance(each, dict)])
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        raise LintError(f"{NOT_A_TABLE}; a part of it is not as nft writes it") from None


def _rules(objects: list[dict[str, Any]]) -> RuleSet:
    got, sets = RuleSet(), Sets()
    asleep = _dormant(objects)
    for each in objects:
        match each:
            case {"chain": dict(chain)} if table_of(chain) not in asleep:
                _chain(got, chain)
            case {"set": dict(found)} | {"map": dict(found)}:
                sets.add(found)
    if sets.size > MAX_ELEMENTS:
        raise LintError(f"more than {MAX_ELEMENTS} elements in sets")
    count = 0
    for each in objects:
        match each:
            case {"rule": dict(rule)}:
                count += 1
                _rule(got, rule, sets)
    if count > MAX_RULES:
        raise LintError(f"more than {MAX_RULES} rules")
    got.opaque = _by_iptables(objects)
    got.notes += [f"table {name} is dormant: its rules are not in force" for name in sorted(asleep)]
    return got


def _dormant(objects: list[dict[str, Any]]) -> set[str]:
    """nft 1.0.6 writes nonsense in place of the flag's name, so anything there counts but what else there may be."""
    got = set()
    for each in objects:
        match each:
            case {"table": {"family": family, "name": name, "flags": flags}}:
                if set(flags if isinstance(flags, list) else [flags]) - {"owner", "persist"}:
                    got.add(f"{family} {name}")
    return got


def _by_iptables(objects: list[dict[str, Any]]) -> frozenset[str]:
    """The tables with matches or targets of iptables, of which nft tells the names alone."""
    rules = [each["rule"] for each in objects if isinstance(each.get("rule"), dict)]
    return frozenset(table_of(rule) for rule in rules if any("xt" in part for part in rule.get("expr") or ()))


def table_of(each: dict[str, Any]) -> str:
    return f"{each['family']} {each['table']}"


def _chain(got: RuleSet, chain: dict[str, Any]) -> None:
    families = FAMILIES.get(chain["family"])
    if families is None:
        return
    table, name = table_of(chain), str(chain["name"])
    hook = str(chain.get("hook", ""))
    priority = chain.get("prio", 0)
    got.chains[table, name] = Chain(
        where=f"table {table}, chain {name}",
        table=table,
        name=name,
        families=frozenset(families),
        hook=hook,
        priority=priority if isinstance(priority, int) else PRIORITIES.get(str(priority), 0),
        policy=Verdict.DROP if chain.get("policy") == "drop" else Verdict.ACCEPT,
        nat=chain.get("type") == "nat",
        device=_devices(chain.get("dev")) if hook in ("ingress", "egress") else None,
        somewhere=hook in ("ingress", "egress") and not chain.get("dev"),
    )


def _devices(dev: Any) -> Ints | None:
    if not dev:  # nft 1.0.6 leaves it out
        return None
    names = dev if isinstance(dev, list) else [dev] if isinstance(dev, str) else []
    return joined(i for name in names for i in interface(str(name)))


def _rule(got: RuleSet, rule: dict[str, Any], sets: Sets) -> None:
    chain = got.chains.get((table_of(rule), str(rule["chain"])))
    if chain is not None:
        text = rule_text(rule)
        found = steps(rule.get("expr", []), text, sets.of(table_of(rule)))
        chain.rules.append(Rule(text, found, int(rule.get("handle", 0))))
