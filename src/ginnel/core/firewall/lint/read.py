"""Which format a text is in, and its rules.

Room: core.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ginnel.core.firewall.lint import clouds, iptables, nft_json, ufw_status
from ginnel.core.firewall.lint.model import MAX_BYTES, LintError, RuleSet

FORMATS: dict[str, Callable[[str], RuleSet]] = {
    "nft-json": nft_json.parse,
    "iptables-save": iptables.parse,
    "ip6tables-save": lambda text: iptables.parse(text, 6),
    "ufw-status": ufw_status.parse,
    "aws-sg": clouds.parser("aws-sg"),
    "gcp": clouds.parser("gcp"),
    "azure-nsg": clouds.parser("azure-nsg"),
}
SIGNS = (  # the first that is found in the text tells
    ("nft-json", re.compile(r'\A\s*\{\s*"nftables"')),
    ("aws-sg", re.compile(r'\A\s*\{\s*"SecurityGroups"')),
    ("azure-nsg", re.compile(r'\A\s*\{.*"(default)?[sS]ecurityRules"', re.DOTALL)),
    ("gcp", re.compile(r'\A\s*\[.*"(sourceRanges|destinationRanges|direction)"', re.DOTALL)),
    ("ufw-status", re.compile(r"^Status: (in)?active", re.MULTILINE)),
    ("iptables-save", re.compile(r"^\*(filter|nat|mangle|raw|security)\s*$", re.MULTILINE)),
)


def read(data: bytes, name: str = "auto") -> RuleSet:
    """Raises LintError."""
    if len(data) > MAX_BYTES:
        raise LintError(f"larger than {MAX_BYTES >> 20} MiB")
    text = data.decode("utf-8", "replace").lstrip("\ufeff")
    return FORMATS[guess(text) if name == "auto" else name](text)


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
