"""Does the router forward ports on demand, and by which protocol? Asked on the wire, without the node's own codecs.

Room: lab. NAT-PMP is RFC 6886 §3.3, PCP RFC 6887 §11.1, UPnP the WANIPConnection:1 service. A router without a daemon
refuses (ICMP), so a "no" comes as quickly as a "yes"; only one that answers one protocol keeps quiet about another.
"""

from __future__ import annotations

import json
import re
import select
import socket
import struct
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address

from ginnel.lab.namespace import Inside

GRACE = 0.05  # after the first answer
LIMIT = 2.0
LIFETIME = 600
MAP_PORT, SSDP_PORT = 5351, 1900
UDP = 17
ANY = "0.0.0.0"  # noqa: S104 a suggestion that says nothing; nobody binds it
SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:"  # and its version, 1 or 2
SEARCH = (
    f"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:{SSDP_PORT}\r\n"
    f'MAN: "ssdp:discover"\r\nMX: 1\r\nST: {SERVICE}1\r\n\r\n'
)
SOAP = (
    '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
    ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
    '<u:AddPortMapping xmlns:u="{service}"><NewRemoteHost></NewRemoteHost><NewExternalPort>{port}</NewExternalPort>'
    "<NewProtocol>UDP</NewProtocol><NewInternalPort>{port}</NewInternalPort><NewInternalClient>{host}</NewInternalClient>"
    "<NewEnabled>1</NewEnabled><NewPortMappingDescription>probe</NewPortMappingDescription>"
    "<NewLeaseDuration>{lifetime}</NewLeaseDuration></u:AddPortMapping></s:Body></s:Envelope>"
)


class MappingProbe:
    """One host's questions to its gateway; `ports` of its own, one for each protocol, are what it wants mapped."""

    def __init__(self, host: Inside, address: str) -> None:
        self.host, self.address = host, address
        self.gateway = str(json.loads(host.run(["ip", "-j", "-4", "route", "show", "default"]))[0]["gateway"])

    def answers(self, ports: dict[str, int]) -> dict[str, int]:
        """The outside port that each protocol gave for an inside port; protocols that gave none are left out."""
        asked = {name: self.ask(*ASKED[name](self, ports[name])) for name in ports}
        try:
            return self.listen(asked, ports)
        finally:
            for opened in asked.values():
                opened.close()

    def ask(self, port: int, request: bytes) -> socket.socket:
        opened = self.host.socket(socket.SOCK_DGRAM, (self.address, 0))
        opened.connect((self.gateway, port))
        opened.send(request)
        return opened

    def listen(self, asked: dict[str, socket.socket], ports: dict[str, int]) -> dict[str, int]:
        found: dict[str, int] = {}
        waiting, until = dict(asked), time.monotonic() + LIMIT
        while waiting and (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select(list(waiting.values()), [], [], left)
            for name in [name for name, opened in waiting.items() if opened in ready]:
                outside = READ[name](self, answer_of(waiting.pop(name)), ports[name])
                if outside is not None:
                    found[name] = outside
                    until = min(until, time.monotonic() + GRACE)
        return found

    def pmp_request(self, port: int) -> tuple[int, bytes]:
        return MAP_PORT, struct.pack("!BBHHHI", 0, 1, 0, port, port, LIFETIME)

    def pcp_request(self, port: int) -> tuple[int, bytes]:
        header = struct.pack("!BBHI", 2, 1, 0, LIFETIME) + mapped_v4(self.address)
        return MAP_PORT, header + struct.pack("!12sB3xHH", b"probe-nonce!", UDP, port, port) + mapped_v4(ANY)

    def upnp_request(self, port: int) -> tuple[int, bytes]:  # noqa: ARG002
        return SSDP_PORT, SEARCH.encode()

    def pmp_answer(self, packet: bytes, port: int) -> int | None:
        if len(packet) != 16 or packet[:4] != bytes([0, 129, 0, 0]) or packet[8:10] != struct.pack("!H", port):
            return None
        return int.from_bytes(packet[10:12])

    def pcp_answer(self, packet: bytes, port: int) -> int | None:
        if (
            len(packet) != 60
            or packet[:2] != bytes([2, 129])
            or packet[3] != 0
            or packet[40:42] != struct.pack("!H", port)
        ):
            return None
        return int.from_bytes(packet[42:44])

    def upnp_answer(self, packet: bytes, port: int) -> int | None:
        """The answer names a description, that a control address, and there the mapping is asked for."""
        location = re.search(r"(?im)^location:\s*http://([\d.]+):(\d+)(/\S*)", packet.decode(errors="replace"))
        if location is None:
            return None
        server = location[1], int(location[2])
        _, description = self.web(server, "GET", location[3])
        control = re.search(rf"<serviceType>({SERVICE}\d)</serviceType>.*?<controlURL>([^<]+)<", description, re.DOTALL)
        if control is None:
            return None
        service, path = control.groups()
        body = SOAP.format(service=service, port=port, host=self.address, lifetime=LIFETIME)
        headers = {"SOAPAction": f'"{service}#AddPortMapping"', "Content-Type": 'text/xml; charset="utf-8"'}
        status, _ = self.web(server, "POST", path, body, headers)
        return port if status == 200 else None

    def web(
        self, server: tuple[str, int], method: str, path: str, body: str = "", headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        connection = HTTPConnection(*server)
        try:
            connection.sock = self.host.socket(socket.SOCK_STREAM, (self.address, 0))
            connection.sock.settimeout(LIMIT)
            connection.sock.connect(server)
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        except (OSError, HTTPException):
            return 0, ""
        finally:
            connection.close()


ASKED: dict[str, Callable[[MappingProbe, int], tuple[int, bytes]]] = {
    "nat-pmp": MappingProbe.pmp_request,
    "pcp": MappingProbe.pcp_request,
    "upnp": MappingProbe.upnp_request,
}
READ: dict[str, Callable[[MappingProbe, bytes, int], int | None]] = {
    "nat-pmp": MappingProbe.pmp_answer,
    "pcp": MappingProbe.pcp_answer,
    "upnp": MappingProbe.upnp_answer,
}


def answer_of(opened: socket.socket) -> bytes:
    """Empty for a refusal."""
    try:
        return opened.recv(2048)
    except ConnectionRefusedError:
        return b""


def mapped_v4(address: str) -> bytes:
    """As PCP writes an IPv4 address (RFC 6887 §5)."""
    return bytes(10) + b"\xff\xff" + ip_address(address).packed
