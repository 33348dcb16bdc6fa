"""What a statement of nft takes for granted: `ip dscp set cs1` ends the rule for IPv6, and a map for keys it has not.

Room: core. Source: nft(8), what `nft --debug=netlink` shows of such rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ginnel.core.firewall.lint.fields import IP4, IP6, PROTOCOLS, Box, Field
from ginnel.core.firewall.lint.ints import point
from ginnel.core.firewall.lint.model import Step, When
from ginnel.core.firewall.lint.nft_keys import NEVER_OURS, Never

DEEPEST = 20
SPEAKS_FOR_ITSELF = frozenset({"match", "vmap", "xt", "jump", "goto", "accept", "drop", "counter", "log"})
HOLDS: dict[str, Box] = {
    "ip": {Field.NFPROTO.value: point(IP4)},
    "ip6": {Field.NFPROTO.value: point(IP6)},
    "tcp": {Field.L4PROTO.value: point(PROTOCOLS["tcp"])},
    "udp": {Field.L4PROTO.value: point(PROTOCOLS["udp"])},
    "tcp option": {Field.L4PROTO.value: point(PROTOCOLS["tcp"])},
}


def asked_for(statement: dict[str, Any]) -> list[Step]:
    """What a packet must have for the rule to go on behind the statement. Raises Never: none of the mesh has it."""
    (name, inner), *_ = statement.items()
    if name in SPEAKS_FOR_ITSELF:
        return []
    got: list[Step] = []
    for kind, found in _expressions(inner, 0):
        if kind == "payload" and isinstance(found, dict):
            got += _header(str(found.get("protocol")))
        elif kind == "tcp option":
            got += _header("tcp option")
        elif kind == "map":
            got.append(When(({f"?a map has the key of {name}": point(1)},)))
    return got


def _header(protocol: str) -> list[Step]:
    if protocol in NEVER_OURS or protocol in ("arp", "vlan"):
        raise Never
    return [When((HOLDS[protocol],))] if protocol in HOLDS else []


def _expressions(found: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Every `{kind: ...}` in it."""
    if depth > DEEPEST:
        return
    if isinstance(found, dict):
        for kind, inner in found.items():
            yield kind, inner
            yield from _expressions(inner, depth + 1)
    elif isinstance(found, list):
        for each in found:
            yield from _expressions(each, depth + 1)
