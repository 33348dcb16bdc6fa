"""Products that open TLS on its way, by the names of their authorities.

Room: core. Pure.
"""

from __future__ import annotations

from ginnel.core.firewall.evidence import Leaf

INSPECTORS = (
    "zscaler", "fortinet", "fortigate", "palo alto", "blue coat", "bluecoat", "symantec web", "sophos", "netskope",
    "cisco umbrella", "opendns", "check point", "checkpoint", "kaspersky", "eset ssl", "avast", "avg web",
    "bitdefender", "mitmproxy", "squid", "portswigger", "charles proxy", "untangle", "watchguard", "barracuda",
    "sonicwall", "securly", "lightspeed", "goguardian", "contentkeeper", "iboss", "menlo security", "mcafee web",
    "skyhigh", "forcepoint", "websense", "smoothwall", "cato networks", "trend micro", "dr.web", "adguard",
    "deep inspection", "ssl inspection",
)  # fmt: skip
"""Words in the names of authorities that sign certificates on the fly. Where one of these is installed in this
machine's store its certificates are trusted here, and the issuer's name alone gives it away."""


def inspector_of(leaf: Leaf) -> str:
    """The issuer, where it is one of these, else ""."""
    issuer = leaf.issuer.lower()
    return leaf.issuer if any(word in issuer for word in INSPECTORS) else ""
