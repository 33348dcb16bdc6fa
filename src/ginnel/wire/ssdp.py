"""SSDP: finding UPnP routers (UPnP Device Architecture 1.1 §1.3).

Room: wire. Bytes become messages and back. No sockets, clocks, randomness or logs come in.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from ginnel.wire.read import Malformed

PORT = 1900
MULTICAST = IPv4Address("239.255.255.250")
ALL = "ssdp:all"
GATEWAY_DEVICE = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
MAX_PACKET = 4096
MAX_HEADERS = 64


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """`location`: the URL of the device's description, as it came. `target`: what answers, `kind` of it in `usn`."""

    location: str
    target: str = ""
    usn: str = ""
    server: str = ""


def search(target: str) -> bytes:
    """A request for `target`; the same bytes go to the multicast group and, for routers behind strict firewalls, to
    the gateway itself."""
    return (
        f'M-SEARCH * HTTP/1.1\r\nHOST: {MULTICAST}:{PORT}\r\nST: {target}\r\nMAN: "ssdp:discover"\r\nMX: 2\r\n\r\n'
    ).encode("ascii")


def parse_search_answer(packet: bytes) -> SearchAnswer:
    """Read `HTTP/1.1 200 OK` and its headers; of two alike the first counts. Raises WireError."""
    if len(packet) > MAX_PACKET:
        raise Malformed(f"expected at most {MAX_PACKET} bytes of SSDP, got {len(packet)}")
    first, *lines = packet.decode("latin-1").replace("\r\n", "\n").split("\n", MAX_HEADERS + 1)
    status = first.split(" ", 2)
    if not status[0].startswith("HTTP/1.") or status[1:2] != ["200"]:
        raise Malformed("expected an SSDP answer with status 200")
    headers = dict(reversed([_header(line) for line in lines[:MAX_HEADERS] if line.strip()]))
    location = headers.get("location", "")
    if not location:
        raise Malformed("an SSDP answer without a location")
    return SearchAnswer(location, headers.get("st", ""), headers.get("usn", ""), headers.get("server", ""))


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise Malformed("expected name: value in an SSDP header")
    return name.strip().lower(), value.strip()
