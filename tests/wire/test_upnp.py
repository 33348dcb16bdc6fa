from contextlib import suppress
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire import upnp, xml
from ginnel.wire.read import Malformed, WireError
from ginnel.wire.upnp import (
    Description,
    Service,
    SoapAnswer,
    external_address,
    parse_description,
    parse_soap,
    port_and_path,
)
from ginnel.words import Endpoint

IP1, IP2, PPP = (
    f"urn:schemas-upnp-org:service:{kind}" for kind in ("WANIPConnection:1", "WANIPConnection:2", "WANPPPConnection:1")
)


def description(*services: tuple[str, str], base: str = "") -> bytes:
    """A router's, with one service in each of its nested devices."""
    nested = "".join(
        f"<device><serviceList><service><serviceType>{kind}</serviceType><controlURL>{url}</controlURL></service>"
        "</serviceList></device>"
        for kind, url in services
    )
    return (
        f'<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0">{base}<device>'
        "<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>"
        f"<friendlyName>Box 7</friendlyName><manufacturer>Acme</manufacturer><deviceList>{nested}</deviceList>"
        "</device></root>"
    ).encode()


def envelope(inside: str) -> bytes:
    return (
        f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{inside}</s:Body></s:Envelope>'
    ).encode()


def fault(code: int | str) -> bytes:
    return envelope(
        "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>"
        f'<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{code}</errorCode>'
        "<errorDescription>no</errorDescription></UPnPError></detail></s:Fault>"
    )


def test_services_that_map_ports_come_best_first_and_others_not_at_all() -> None:
    body = description(
        ("urn:x:service:Printer:1", "/p"), (PPP, "/ppp"), (IP1, "one"), (IP2, "http://10.9.9.9:81/two?a=b")
    )
    assert parse_description(body, 5000, "/igd/root.xml") == Description(
        (Service(IP2, 81, "/two?a=b"), Service(IP1, 5000, "/igd/one"), Service(PPP, 5000, "/ppp")), "Acme Box 7"
    )


def test_a_base_url_gives_port_and_folder_but_never_the_host() -> None:
    body = description((IP1, "ctl"), base="<URLBase>http://192.0.2.66:49152/base/</URLBase>")
    assert parse_description(body, 80, "/").services == (Service(IP1, 49152, "/base/ctl"),)


def test_a_service_with_an_unusable_control_url_is_left_out() -> None:
    body = description((IP1, "ftp://192.168.1.1/x"), (IP1, "http://192.168.1.1:99999/"), (IP1, "/good"))
    assert parse_description(body, 80, "/").services == (Service(IP1, 80, "/good"),)


def test_a_hundred_services_are_cut_to_eight() -> None:
    body = description(*((IP1, f"/{number}") for number in range(100)))
    assert len(parse_description(body, 80, "/").services) == upnp.SERVICES_KEPT


@pytest.mark.parametrize("body", [b"<html/>", b"<root/>", b"<root><device>", b"<device><device/></device>"])
def test_what_describes_no_device_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse_description(body, 80, "/")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://192.168.1.1:5000/root.xml", (5000, "/root.xml")),
        ("http://192.168.1.1/root.xml", (80, "/root.xml")),
        ("http://192.168.1.1:1900", (1900, "/")),
        ("http://user@[::1]:81/x", (81, "/x")),
        ("/abs", (8080, "/abs")),
        ("rel", (8080, "/dir/rel")),
    ],
)
def test_of_a_url_port_and_path_count(url: str, place: tuple[int, str]) -> None:
    assert port_and_path(url, base_port=8080, base_path="/dir/file") == place


@pytest.mark.parametrize(
    "url",
    [
        "https://a/",
        "file:///etc/passwd",
        "http:/x",
        "http://a:0/",
        "http://a:x/",
        "http://[/",
        "/a b",
        "/a\r\nX: y",
        "/é",
        "/" + "a" * 1024,
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(Malformed):
        port_and_path(url)


def test_a_mapping_is_asked_for_in_soap() -> None:
    request = upnp.add_port_mapping(Service(IP1, 80, "/"), 2000, Endpoint.parse("192.168.1.7:41641"), 7200)
    assert request.action == f'"{IP1}#AddPortMapping"'
    call = xml.parse(request.body).children[0].children[0]
    assert {child.name: child.text for child in call.children} == {
        "NewRemoteHost": "", "NewExternalPort": "2000", "NewProtocol": "UDP", "NewInternalPort": "41641",
        "NewInternalClient": "192.168.1.7", "NewEnabled": "1", "NewPortMappingDescription": "ginnel",
        "NewLeaseDuration": "7200",
    }  # fmt: skip


def test_external_port_0_is_never_asked_for() -> None:
    with pytest.raises(ValueError, match="every port"):
        upnp.add_port_mapping(Service(IP1, 80, "/"), 0, Endpoint.parse("192.168.1.7:41641"), 0)


def test_values_of_an_answer_are_read() -> None:
    body = envelope(
        "<u:GetExternalIPAddressResponse><NewExternalIPAddress>203.0.113.5</NewExternalIPAddress></u:GetExternalIPAddressResponse>".replace(
            "u:", ""
        )
    )
    answer = parse_soap(body)
    assert answer == SoapAnswer(0, {"NewExternalIPAddress": "203.0.113.5"})
    assert external_address(answer) == IPv4Address("203.0.113.5")


@pytest.mark.parametrize("code", [402, 718, 725])
def test_an_error_code_is_read(code: int) -> None:
    assert parse_soap(fault(code)).error == code


@pytest.mark.parametrize("code", ["", "x", "0", "-1", "99999", "\N{ARABIC-INDIC DIGIT SEVEN}18"])
def test_a_fault_with_no_code_of_upnps_is_one_all_the_same(code: str) -> None:
    assert parse_soap(fault(code)).error == upnp.OTHER_ERROR


@pytest.mark.parametrize("address", ["", "router.local", "::1", "203.0.113.5 ", "1.2.3"])
def test_an_address_that_is_no_ipv4_is_none(address: str) -> None:
    with pytest.raises(Malformed):
        external_address(SoapAnswer(0, {"NewExternalIPAddress": address}))


@given(st.binary(max_size=300), st.sampled_from([b"%b", envelope("%b"), fault("%b"), description((IP1, "%b"))]))
def test_any_bytes_are_messages_or_wire_errors(middle: bytes, around: bytes) -> None:
    body = around.replace(b"%b", middle)
    with suppress(WireError):
        assert isinstance(parse_soap(body), SoapAnswer)
    with suppress(WireError):
        assert isinstance(parse_description(body, 80, "/"), Description)


@given(st.text(max_size=60), st.sampled_from(["", "http://", "http://a:"]))
def test_any_text_is_a_place_or_a_wire_error(text: str, scheme: str) -> None:
    with suppress(WireError):
        port, path = port_and_path(scheme + text)
        assert 0 < port <= 0xFFFF
        assert path.startswith("/")
        assert path.isascii()


def test_the_name_of_a_router_cannot_write_over_somebody_s_terminal() -> None:
    device = "<manufacturer>Evil\x9b2J</manufacturer><friendlyName>Box\nMapping: 192.0.2.1:1\u202e</friendlyName>"
    found = upnp.parse_description(f"<root><device>{device}</device></root>".encode(), 80, "/")
    assert found.name == "Evil 2J Box Mapping: 192.0.2.1:1"
