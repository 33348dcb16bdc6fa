"""UPnP Internet Gateway Device: a router's description, and its port mappings by SOAP (UPnP Device Architecture 1.1
§2.3, §3; UPnP-gw-WANIPConnection-v1 and -v2 §2.4, §2.5; legacy names: tailscale: net/portmapper/legacy_upnp.go).

Room: wire. Bytes become messages and back. No sockets, clocks, randomness or logs come in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from ginnel.wire import xml
from ginnel.wire.read import Malformed
from ginnel.words import Endpoint

SERVICE_TYPES = (
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
    "urn:dslforum-org:service:WANPPPConnection:1",
    "urn:dslforum-org:service:WANIPConnection:1",
)
"""Those that map ports, best first."""

WITH_ANY_PORT = SERVICE_TYPES[0]
SERVICES_KEPT = 8
MAX_URL = 1024
UP = ("Connected", "Up")
ERROR_CODE = re.compile("[1-9][0-9]{2}", re.ASCII)
OTHER_ERROR = 501
"""Action Failed: for a fault that has no code of UPnP's."""


class ErrorCode(IntEnum):
    """Those that change what is asked next."""

    INVALID_ACTION = 401
    INVALID_ARGS = 402
    NO_SUCH_ENTRY = 714
    CONFLICT_IN_MAPPING_ENTRY = 718
    SAME_PORT_VALUES_REQUIRED = 724
    ONLY_PERMANENT_LEASES_SUPPORTED = 725
    CONFLICT_WITH_OTHER_MECHANISMS = 729


@dataclass(frozen=True, slots=True)
class Service:
    """`control`: port and path of its control URL. The host is the gateway's, whatever the URL says."""

    type: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Description:
    """`services`: those that map ports, best first. `name`: of the router, for people."""

    services: tuple[Service, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class SoapAnswer:
    """`error`: UPnP's error code, 0: none. `values`: the answer's arguments by name."""

    error: int = 0
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SoapRequest:
    """The body of a POST to a service's control URL, and the value of its header `SOAPAction`."""

    action: str
    body: bytes


def port_and_path(url: str, *, base_port: int = 80, base_path: str = "/") -> tuple[int, str]:
    """Where an `http` URL, or one relative to a base, leads on the gateway itself. Raises WireError."""
    if len(url) > MAX_URL or not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
        raise Malformed("expected a short URL of printable ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Malformed("the URL cannot be read") from None
    if parts.scheme not in ("", "http") or (parts.scheme and not parts.netloc):
        raise Malformed("expected a URL of http")
    if not parts.netloc:
        port = base_port
    path = parts.path or ("/" if parts.netloc else "")
    if not path.startswith("/"):
        path = base_path.rpartition("/")[0] + "/" + path
    if port == 0:
        raise Malformed("the URL has port 0")
    return port or 80, path + (f"?{parts.query}" if parts.query else "")


def parse_description(body: bytes, port: int, path: str) -> Description:
    """Read a device description that came from this port and path. Services whose control URL is unusable are left
    out. Raises WireError."""
    root = xml.parse(body)
    device = root.child("device")
    if root.name != "root" or device is None:
        raise Malformed("expected the description of a UPnP device")
    if base := root.text_of("URLBase"):
        port, path = port_and_path(base)
    found = [service for element in root.every("service") if (service := _service(element, port, path)) is not None]
    found.sort(key=lambda service: SERVICE_TYPES.index(service.type))
    name = " ".join(word for word in (device.text_of("manufacturer"), device.text_of("friendlyName")) if word)
    return Description(tuple(dict.fromkeys(found))[:SERVICES_KEPT], printable(name[:80]))


def printable(name: str) -> str:
    """One line that moves no cursor and turns no text around."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())


def _service(element: xml.Element, port: int, path: str) -> Service | None:
    kind, control = element.text_of("serviceType"), element.text_of("controlURL")
    if kind not in SERVICE_TYPES or not control:
        return None
    try:
        return Service(kind, *port_and_path(control, base_port=port, base_path=path))
    except Malformed:
        return None


# --- SOAP ---


def soap(service: Service, action: str, arguments: dict[str, str] | None = None) -> SoapRequest:
    """Call an action of a service."""
    inside = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in (arguments or {}).items())
    body = (
        '<?xml version="1.0"?>\r\n'
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
        ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
        f'<u:{action} xmlns:u="{service.type}">{inside}</u:{action}>'
        "</s:Body></s:Envelope>\r\n"
    )
    return SoapRequest(f'"{service.type}#{action}"', body.encode())


def add_port_mapping(
    service: Service, external_port: int, internal: Endpoint, lease: int, *, any_port: bool = False
) -> SoapRequest:
    """`any_port`: the router may choose another external port, and says which (version 2). `external_port` 0 would
    forward everything (§2.3.18), so it is refused. `UDP` is upper case: some routers know nothing else."""
    if external_port == 0:
        raise ValueError("external port 0 would forward every port")
    return soap(
        service,
        "AddAnyPortMapping" if any_port else "AddPortMapping",
        {
            "NewRemoteHost": "",
            "NewExternalPort": str(external_port),
            "NewProtocol": "UDP",
            "NewInternalPort": str(internal.port),
            "NewInternalClient": str(internal.ip),
            "NewEnabled": "1",
            "NewPortMappingDescription": "ginnel",
            "NewLeaseDuration": str(lease),
        },
    )


def delete_port_mapping(service: Service, external_port: int) -> SoapRequest:
    return soap(service, "DeletePortMapping", _key(external_port))


def get_port_mapping(service: Service, external_port: int) -> SoapRequest:
    return soap(service, "GetSpecificPortMappingEntry", _key(external_port))


def get_external_address(service: Service) -> SoapRequest:
    return soap(service, "GetExternalIPAddress")


def get_status(service: Service) -> SoapRequest:
    return soap(service, "GetStatusInfo")


def _key(external_port: int) -> dict[str, str]:
    return {"NewRemoteHost": "", "NewExternalPort": str(external_port), "NewProtocol": "UDP"}


def parse_soap(body: bytes) -> SoapAnswer:
    """Read an answer, a fault included. Raises WireError."""
    root = xml.parse(body)
    envelope = root.child("Body")
    if root.name != "Envelope" or envelope is None or not envelope.children:
        raise Malformed("expected a SOAP envelope with something in it")
    answer = envelope.children[0]
    if answer.name == "Fault":
        code = next((error.text_of("errorCode") for error in answer.every("UPnPError")), "")
        return SoapAnswer(int(code) if ERROR_CODE.fullmatch(code) else OTHER_ERROR)
    return SoapAnswer(0, {child.name: child.text for child in answer.children})


def external_address(answer: SoapAnswer) -> IPv4Address:
    """Of `GetExternalIPAddress`. Raises WireError."""
    try:
        return IPv4Address(answer.values.get("NewExternalIPAddress", ""))
    except AddressValueError:
        raise Malformed("the router names no external IPv4 address") from None


def number(text: str, limit: int = 0xFFFFFFFF) -> int:
    """A decimal number up to `limit`. Raises WireError."""
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > limit:
        raise Malformed(f"expected a number up to {limit}")
    return int(text)
