from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire.read import Malformed, WireError
from ginnel.wire.ssdp import ALL, SearchAnswer, parse_search_answer, search

ANSWER = (
    b"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:2\r\n"
    b"USN: uuid:1::urn:schemas-upnp-org:device:InternetGatewayDevice:2\r\nEXT:\r\nSERVER: Linux MiniUPnPd/2.3.1\r\n"
    b"LOCATION: http://192.168.1.1:5000/rootDesc.xml\r\n\r\n"
)


def test_a_search_asks_the_group_for_everything() -> None:
    assert search(ALL).splitlines() == [
        b"M-SEARCH * HTTP/1.1",
        b"HOST: 239.255.255.250:1900",
        b"ST: ssdp:all",
        b'MAN: "ssdp:discover"',
        b"MX: 2",
        b"",
    ]


def test_reads_an_answer() -> None:
    gateway = "urn:schemas-upnp-org:device:InternetGatewayDevice:2"
    assert parse_search_answer(ANSWER) == SearchAnswer(
        "http://192.168.1.1:5000/rootDesc.xml", gateway, f"uuid:1::{gateway}", "Linux MiniUPnPd/2.3.1"
    )


def test_bare_line_feeds_and_names_in_lower_case_are_read() -> None:
    assert parse_search_answer(ANSWER.replace(b"\r\n", b"\n").replace(b"LOCATION", b"location")).location


def test_of_two_locations_the_first_counts() -> None:
    twice = ANSWER.replace(b"\r\n\r\n", b"\r\nLocation: http://192.0.2.66/\r\n\r\n")
    assert parse_search_answer(twice) == parse_search_answer(ANSWER)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"NOTIFY * HTTP/1.1\r\nLOCATION: http://192.168.1.1/\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nLOCATION: http://192.168.1.1/\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100 + b"LOCATION: http://192.168.1.1/\r\n\r\n",
        ANSWER + bytes(4096),
    ],
)
def test_anything_else_is_no_answer(packet: bytes) -> None:
    with pytest.raises(Malformed):
        parse_search_answer(packet)


@given(st.binary(max_size=200), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", ANSWER[:-2]]))
def test_any_bytes_are_an_answer_or_a_wire_error(tail: bytes, head: bytes) -> None:
    with suppress(WireError):
        assert parse_search_answer(head + tail).location
