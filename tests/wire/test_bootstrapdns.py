"""What relays answer under /bootstrap-dns."""

from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire.bootstrapdns import ADDRESSES_KEPT, encode_names, parse_names
from ginnel.wire.read import WireError

V4, V6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")


def test_it_is_written_as_derper_writes_it() -> None:
    expected = (
        '{\n\t"a.example": [\n\t\t"2001:db8::1",\n\t\t"192.0.2.1"\n\t],\n\t"b.example": [\n\t\t"192.0.2.1"\n\t]\n}'
    )
    assert encode_names({"b.example": [V4], "a.example": [V6, V4]}) == expected


@pytest.mark.parametrize("body", [b"", b"{}", b'{"a.example":null}', b'{"a.example":[]}'])
def test_a_relay_may_know_no_name(body: bytes) -> None:
    assert parse_names(body) == {}


def test_what_was_written_is_read() -> None:
    names = {"a.example": (V6, V4), "b.example": (V4,)}
    assert parse_names(encode_names(names).encode()) == names


def test_names_are_read_in_lower_case_and_ipv4_inside_ipv6_as_ipv4() -> None:
    assert parse_names(b'{"A.Example":["::ffff:192.0.2.1"]}') == {"a.example": (V4,)}


def test_of_very_many_addresses_some_are_read() -> None:
    many = {"a.example": [ip_address(number) for number in range(1000)]}
    assert len(parse_names(encode_names(many).encode())["a.example"]) == ADDRESSES_KEPT


@pytest.mark.parametrize("body", [b"[]", b'{"a":1}', b'{"a":["no address"]}', b'{"a":["fe80::1%eth0"]}', b"\xff", b"{"])
def test_anything_else_is_malformed(body: bytes) -> None:
    with pytest.raises(WireError):
        parse_names(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_names_or_a_wire_error(body: bytes) -> None:
    with suppress(WireError):
        parse_names(body)
