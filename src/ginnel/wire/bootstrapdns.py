"""What a relay answers under `/bootstrap-dns`: host names and their addresses (tailscale: cmd/derper/bootstrap_dns.go,
net/dnsfallback/dnsfallback.go).

Room: wire. JSON bytes become messages and back. No sockets, clocks, randomness or logs come in.

    GET /bootstrap-dns?q=NAME

`q` is a hint: the answer holds that name alone where the relay knows it and does not publish it, else all that the
relay publishes. A relay that was told of no names answers with an empty body, or with an empty object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

import msgspec

from ginnel.wire.read import Malformed
from ginnel.words import IpAddress

PATH = "/bootstrap-dns"
ADDRESSES_KEPT = 16
"""Of one name: more are not dialled anyway."""


def encode_names(names: Mapping[str, Sequence[IpAddress]]) -> str:
    """As derper writes it: indented by tabs, names in order."""
    return json.dumps({name: [str(ip) for ip in found] for name, found in names.items()}, indent="\t", sort_keys=True)


def parse_names(body: bytes) -> dict[str, tuple[IpAddress, ...]]:
    """Names in lower case. Raises Malformed."""
    if not body:
        return {}
    try:
        read = msgspec.json.decode(body, type=dict[str, list[str] | None])
        return {name.lower(): tuple(map(_address, found[:ADDRESSES_KEPT])) for name, found in read.items() if found}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        raise Malformed("expected a JSON object of names, each with a list of IP addresses") from None


def _address(text: str) -> IpAddress:
    if "%" in text:
        raise ValueError("a scope means nothing elsewhere")
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address
