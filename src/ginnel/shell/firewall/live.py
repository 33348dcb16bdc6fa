"""The rules in force in this kernel: nft's, with iptables-nft's tables as iptables tells them, legacy ones, and ipsets.

Room: shell. iptables-legacy is asked only where the kernel has tables of it: asking would make them.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from ginnel.core.firewall.lint import ipset_save, iptables, nft_json
from ginnel.core.firewall.lint.model import RuleSet
from ginnel.shell.firewall.tools import ToolError, found, run

BUILT_IN = re.compile(r"PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING")
TABLES = ("filter", "nat", "mangle", "raw", "security")
LEGACY = {4: ("iptables-legacy", Path("/proc/net/ip_tables_names")),
          6: ("ip6tables-legacy", Path("/proc/net/ip6_tables_names"))}  # fmt: skip


def live_rules() -> RuleSet:
    """Raises ToolError, LintError."""
    if os.geteuid() != 0:
        raise ToolError("only root sees this host's firewall rules: repeat the command with sudo")
    rules = _nft() if found("nft") else RuleSet()
    for version, (program, names) in LEGACY.items():
        if _tables(names) and found(f"{program}-save"):
            rules = rules.joined(iptables.parse(run([f"{program}-save"]), version, _spelled("legacy")))
    if rules.ipsets_asked() and found("ipset"):
        rules = replace(rules, ipsets=ipset_save.parse(run(["ipset", "save"])))
    return rules


def _nft() -> RuleSet:
    rules = nft_json.parse(run(["nft", "-j", "list", "ruleset"]))
    for family, program in (("ip", "iptables-nft"), ("ip6", "ip6tables-nft")):
        ours = {table for table, chain in rules.chains if BUILT_IN.fullmatch(chain)} & {f"{family} {t}" for t in TABLES}
        if ours and found(f"{program}-save"):
            rules = rules.joined(_told(run([f"{program}-save"]), family))
    return rules


def _told(saved: str, family: str) -> RuleSet:
    if "*" not in saved:  # tables that nft alone can tell
        return RuleSet(families=frozenset())
    told = iptables.parse(saved, 4 if family == "ip" else 6, _spelled("nf_tables"))
    return replace(told, covers=frozenset(f"{family} {table.rpartition(' ')[2]}" for table, _ in told.chains))


def has_legacy() -> bool:
    """Whether the kernel has tables of iptables-legacy."""
    return any(_tables(names) for _, names in LEGACY.values())


def _spelled(kind: str) -> str:
    """What the user calls it: plain iptables is one of the two kinds."""
    plain = run(["iptables", "--version"]) if found("iptables") else ""
    return "iptables" if kind in plain else {"legacy": "iptables-legacy", "nf_tables": "iptables-nft"}[kind]


def _tables(names: Path) -> bool:
    try:
        return bool(names.read_text().strip())
    except OSError:
        return False
