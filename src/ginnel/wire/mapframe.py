"""Reading a map frame so that a poisoned item costs only itself (tailscale: tailcfg.MapResponse).

Room: wire. The quick way reads the frame as one message. Only when that fails are its lists read item by item: a
peer with a broken key, a rule with a broken port or a region without a name is left out and named; a broken frame
is still `Malformed`. Leaving a filter rule out only narrows what may come in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ginnel.wire.read import Malformed
from ginnel.wire.tailcfg import (
    DERPRegion,
    FilterRule,
    MapResponse,
    Node,
    PeerChange,
    UserProfile,
    _read_key,
    decode,
)

LISTS: dict[str, type[msgspec.Struct]] = {
    "Peers": Node,
    "PeersChanged": Node,
    "PeersChangedPatch": PeerChange,
    "UserProfiles": UserProfile,
    "PacketFilter": FilterRule,
}
PROBLEMS_KEPT = 20


def decode_map_response(body: bytes | bytearray | memoryview) -> tuple[MapResponse, tuple[str, ...]]:
    """The frame, and a line for each item that was left out. Raises Malformed."""
    try:
        return decode(MapResponse, body), ()
    except Malformed as whole:
        try:
            loose = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise whole from None
        if not isinstance(loose, dict):
            raise
    problems: list[str] = []
    for name, kind in LISTS.items():
        if isinstance(items := loose.get(name), list):
            loose[name] = _sound(name, kind, items, problems)
    _sieve_filters(loose, problems)
    _sieve_regions(loose, problems)
    return _convert(MapResponse, loose), tuple(problems[:PROBLEMS_KEPT])


def _convert(kind: type[Any], loose: object) -> Any:
    try:
        return msgspec.convert(loose, kind, dec_hook=_read_key, str_keys=True)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Malformed(f"{kind.__name__}: {error}") from None


def _sound(where: str, kind: type[Any], items: list[Any], problems: list[str]) -> list[Any]:
    """The items that can be read, as they came."""
    return [item for number, item in enumerate(items) if _readable(f"{where}[{number}]", kind, item, problems.append)]


def _readable(where: str, kind: type[Any], item: object, report: Callable[[str], None]) -> bool:
    try:
        _convert(kind, item)
    except Malformed as problem:
        report(f"{where} left out: {problem}")
        return False
    return True


def _sieve_filters(loose: dict[str, Any], problems: list[str]) -> None:
    filters = loose.get("PacketFilters")
    if isinstance(filters, dict):
        for name, rules in filters.items():
            if isinstance(rules, list):
                filters[name] = _sound(f"PacketFilters[{name[:32]}]", FilterRule, rules, problems)


def _sieve_regions(loose: dict[str, Any], problems: list[str]) -> None:
    derp_map = loose.get("DERPMap")
    regions = derp_map.get("Regions") if isinstance(derp_map, dict) else None
    if isinstance(derp_map, dict) and isinstance(regions, dict):
        derp_map["Regions"] = {
            number: region
            for number, region in regions.items()
            if region is None or _readable(f"region {number[:8]}", DERPRegion, region, problems.append)
        }
