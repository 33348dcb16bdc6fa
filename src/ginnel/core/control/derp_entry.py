"""A relay's entry in the DERP map, as far as its own word for it may go.

Room: core. Clients drop a whole map for some bad entries, so nothing else gets in (wire/derpmap.py).
"""

from __future__ import annotations

from ipaddress import ip_address

from ginnel.core.control.refused import Refused
from ginnel.core.relay.identity import as_address, is_host
from ginnel.wire.derpmap import DERP_PORT, PIN, STUN_PORT
from ginnel.wire.tailcfg import DERPNode

NO_FAMILY = "none"


def checked_entry(node: DERPNode, region: int, name: str) -> DERPNode:
    """The entry under the name and region that it is given here. Raises Refused."""
    if not is_host(node.host_name):
        raise Refused(f"{node.host_name[:64]!r} is no host name and no IP address")
    if not _is_certificate_name(node.cert_name):
        raise Refused("the certificate's name must be empty, a host name, or sha256-raw: and 64 hex digits")
    if not 0 <= node.derp_port <= 0xFFFF or not -1 <= node.stun_port <= 0xFFFF:
        raise Refused("a port is 1 to 65535")
    literal = as_address(node.host_name)
    version = literal.version if literal is not None else 0  # a host that is an address is asked of no DNS
    return DERPNode(
        name=name,
        region_id=region,
        host_name=node.host_name,
        cert_name=node.cert_name,
        ipv4=node.host_name if version == 4 else _address(node.ipv4, 4) or (NO_FAMILY if version else ""),
        ipv6=node.host_name if version == 6 else _address(node.ipv6, 6) or (NO_FAMILY if version else ""),
        stun_port=0 if node.stun_port == STUN_PORT else node.stun_port,
        derp_port=0 if node.derp_port == DERP_PORT else node.derp_port,
        can_port80=node.can_port80,
    )


def _address(text: str, version: int) -> str:
    """ "" asks DNS, NO_FAMILY turns the family off."""
    if text in ("", NO_FAMILY):
        return text
    try:
        found = ip_address(text)
    except ValueError:
        raise Refused(f"{text[:64]!r} is no IP address") from None
    if found.version != version or found.is_multicast or found.is_unspecified or "%" in text:
        raise Refused(f"{text} is no IPv{version} address that a relay can have")
    return str(found)


def _is_certificate_name(text: str) -> bool:
    if text.startswith(PIN):
        digits = text.removeprefix(PIN)
        return len(digits) == 64 and not digits.strip("0123456789abcdef")
    return text == "" or is_host(text)
