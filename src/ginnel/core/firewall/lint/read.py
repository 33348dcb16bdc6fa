"""Which format a text is in, and its rules.

Room: core.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from ginnel.core.firewall.lint import clouds, ipset_save, iptables, nft_json, ufw_status
from ginnel.core.firewall.lint.model import MAX_BYTES, LintError, RuleSet

FORMATS: dict[str, Callable[[str], RuleSet]] = {
    "nft-json": nft_json.parse,
    "iptables-save": iptables.parse,
    "ip6tables-save": lambda text: iptables.parse(text, 6),
    "ufw-status": ufw_status.parse,
    **{kind: partial(clouds.parse, kind=kind) for kind in clouds.KINDS},
}
SIGNS = (  # the first that is found in the text tells
    ("nft-json", re.compile(r'\A\s*\{\s*"nftables"')),
    ("aws-sg", re.compile(r'\A\s*\{\s*"SecurityGroups"')),
    ("azure-nsg", re.compile(r'\A\s*\{.*"(default)?[sS]ecurityRules"', re.DOTALL)),
    ("gcp", re.compile(r'\A\s*\[.*"(sourceRanges|destinationRanges|direction)"', re.DOTALL)),
    ("ufw-status", re.compile(r"^Status: (in)?active", re.MULTILINE)),
    ("iptables-save", re.compile(r"^\*(filter|nat|mangle|raw|security)\s*$", re.MULTILINE)),
)


def read(data: bytes, name: str = "auto", groups: tuple[str, ...] = ()) -> RuleSet:
    """groups: of a cloud's text, those that count. Raises LintError."""
    if len(data) > MAX_BYTES:
        raise LintError(f"larger than {MAX_BYTES >> 20} MiB")
    text = data.decode("utf-8", "replace").lstrip("\ufeff")
    sets, rest = ipset_save.apart(text)
    if sets and not rest.strip():
        return _sets(sets)
    form = guess(rest) if name == "auto" else name
    got = clouds.parse(rest, form, groups) if form in clouds.KINDS else FORMATS[form](rest)
    return got.joined(_sets(sets)) if sets else got


def _sets(text: str) -> RuleSet:
    """Contents of ipsets and no rule."""
    return RuleSet(families=frozenset(), ipsets=ipset_save.parse(text))


def not_told(rules: RuleSet) -> str:
    """What a user must give besides, "" nothing."""
    if not rules.opaque:
        return ""
    count = sum(len(chain.rules) for chain in rules.chains.values() if chain.table in rules.opaque)
    return (
        f"{count} rules were made by iptables, and nft's JSON does not tell what they match: give `sudo iptables-save` "
        "and `sudo ip6tables-save` as further files"
    )


def about_ipsets(rules: RuleSet) -> list[str]:
    """Lines for the user: what is missing to judge by them, and what may have changed."""
    asked = rules.ipsets_asked()
    missing = [name for name in asked if name not in rules.ipsets]
    named = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    add = f"the files do not tell what is in the ipset {named}: add the output of `ipset save` as another FILE"
    changing = [name for name in asked if name in rules.ipsets and rules.ipsets.by_name[name].changing]
    return [*([add] if missing else []), *(f"entries of the ipset {name} go by themselves" for name in changing[:5])]


def guess(text: str) -> str:
    """Raises LintError."""
    if not text.strip():
        raise LintError("it is empty: was the command run by root? What has no rules at all lets everything pass")
    for name, sign in SIGNS:
        if sign.search(text):
            return name
    raise LintError(
        "not in a format that is known: give the output of `nft -j list ruleset`, `iptables-save`, `ufw status "
        "verbose` or `aws ec2 describe-security-groups`"
    )
