"""Short ways to write rule sets in tests."""

from __future__ import annotations

import json
from typing import Any

from ginnel.core.firewall.lint.judge import Answer, Finding, judge
from ginnel.core.firewall.lint.model import RuleSet
from ginnel.core.firewall.lint.trips import Where
from ginnel.core.firewall.needs import Need

HTTPS = Need("https", "out", "tcp", None, 443)
TUNNEL = Need("tunnel", "out", "udp", 41641, None)
TUNNEL_IN = Need("tunnel-in", "in", "udp", None, 41641, optional=True)


def save(*rules: str, policy: str = "DROP", output: str = "ACCEPT", chains: tuple[str, ...] = ()) -> str:
    """iptables-save of a filter table that lets established connections in."""
    heads = [f":INPUT {policy} [0:0]", f":OUTPUT {output} [0:0]", *(f":{name} - [0:0]" for name in chains)]
    known = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    return "\n".join(["*filter", *heads, known, *rules, "COMMIT"]) + "\n"


def nft(*rules: list[dict[str, Any]], policy: str = "drop", hook: str = "input", **more: list[dict[str, Any]]) -> str:
    """JSON of one base chain; more: the rules of other chains by name, one each."""
    table = {"family": "inet", "table": "t"}
    objects: list[dict[str, Any]] = [
        {"chain": {**table, "name": "c", "type": "filter", "hook": hook, "prio": 0, "policy": policy}}
    ]
    objects += [{"chain": {**table, "name": name}} for name in more]
    objects += [{"rule": {**table, "chain": "c", "handle": n, "expr": expr}} for n, expr in enumerate(rules, 5)]
    objects += [{"rule": {**table, "chain": name, "handle": 99, "expr": expr}} for name, expr in more.items()]
    return json.dumps({"nftables": objects})


def answer(rules: RuleSet, need: Need, family: Any = 4, where: Where | None = None) -> Answer:
    return finding(rules, need, family, where).answer


def finding(rules: RuleSet, need: Need, family: Any = 4, where: Where | None = None) -> Finding:
    return judge(rules, need, family, where or Where())
