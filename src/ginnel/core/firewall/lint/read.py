"""Which format a text is in, and its rules.

Room: core.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ginnel.core.firewall.lint import iptables, nft_json
from ginnel.core.firewall.lint.model import MAX_BYTES, LintError, RuleSet

FORMATS: dict[str, Callable[[str], RuleSet]] = {
    "nft-json": nft_json.parse,
    "iptables-save": iptables.parse,
}


def read(data: bytes, name: str = "auto") -> RuleSet:
    """Raises LintError."""
    if len(data) > MAX_BYTES:
        raise LintError(f"larger than {MAX_BYTES >> 20} MiB")
    text = data.decode("utf-8", "replace").lstrip("\ufeff")
    if name == "auto":
        name = guess(text)
    return FORMATS[name](text)


def guess(text: str) -> str:
    """Raises LintError."""
    start = text.lstrip()[:2000]
    if start.startswith("{") and '"nftables"' in start:
        return "nft-json"
    if re.search(r"^\*(filter|nat|mangle|raw|security)\s*$", text, re.MULTILINE):
        return "iptables-save"
    raise LintError(
        "not a format that is known: give `nft -j list ruleset`, `iptables-save`, `ufw status verbose` or a security "
        "group's JSON"
    )
