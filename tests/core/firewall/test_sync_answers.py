"""What DNS says, and what of it may stand in a set."""

from contextlib import suppress
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.firewall.hosts import Trust
from ginnel.core.firewall.sync_answers import answer_in, refusal
from ginnel.core.firewall.sync_words import Question
from ginnel.wire.dns import (
    AAAA,
    IN,
    NXDOMAIN,
    QR,
    RD,
    A,
    header,
    name_of,
    question_bytes,
    record_bytes,
)
from ginnel.wire.read import WireError

HERE = Question("derp1a.example.com", 4)
NAME = name_of(HERE.name)
CNAME = 5
POINTER = b"\xc0\x0c"
TRUST = Trust(own=frozenset((ip_address("203.0.113.77"),)))


def packet(*records: bytes, flags: int = QR | RD, name: bytes = NAME, rtype: int = A) -> bytes:
    return header(7, flags, 1, (len(records), 0, 0)) + question_bytes(name, rtype) + b"".join(records)


def a(address: str, ttl: int = 60, name: bytes = POINTER) -> bytes:
    return record_bytes(name, A, IN, ttl, ip_address(address).packed)


def test_the_least_ttl_counts() -> None:
    answer = answer_in(packet(a("203.0.113.1", 300), a("203.0.113.2", 20)), HERE, TRUST)
    assert answer.addresses == {ip_address("203.0.113.1"), ip_address("203.0.113.2")}
    assert answer.ttl == 20.0


def test_aliases_are_followed_also_by_pointers_with_the_least_ttl_on_the_way() -> None:
    target = b"\x04real" + b"\xc0\x13"  # "example.com" of the question
    alias = record_bytes(POINTER, CNAME, IN, 5, target)
    answer = answer_in(packet(alias, a("203.0.113.1", 300, name_of("real.example.com"))), HERE, TRUST)
    assert answer.addresses == {ip_address("203.0.113.1")}
    assert answer.ttl == 5.0


def test_addresses_of_other_names_do_not_count() -> None:
    assert not answer_in(packet(a("203.0.113.1", name=name_of("other.example.com"))), HERE, TRUST).addresses


def test_aliases_that_run_in_a_circle_are_no_answer() -> None:
    with pytest.raises(WireError):
        answer_in(packet(record_bytes(POINTER, CNAME, IN, 5, POINTER)), HERE, TRUST)


@pytest.mark.parametrize(
    "bad",
    [
        packet(a("203.0.113.1"), flags=RD),
        packet(a("203.0.113.1"), name=name_of("other.example.com")),
        packet(a("203.0.113.1"), rtype=AAAA),
        packet(flags=QR | 2),
        packet(record_bytes(POINTER, A, IN, 60, b"\x01\x02\x03")),
        packet(a("203.0.113.1"))[:-2],
        b"",
    ],
    ids=["a question", "another name", "another type", "SERVFAIL", "three bytes", "cut", "nothing"],
)
def test_what_is_no_answer_is_an_error_and_never_an_empty_one(bad: bytes) -> None:
    with pytest.raises(WireError):
        answer_in(bad, HERE, TRUST)


def test_a_name_that_is_not_there_has_no_addresses() -> None:
    assert answer_in(packet(flags=QR | NXDOMAIN), HERE, TRUST).addresses == frozenset()


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "127.0.0.1", "169.254.1.1", "100.64.0.9", "192.168.1.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
     "203.0.113.77", "::1", "::", "fe80::1", "fd7a:115c:a1e0::1", "::ffff:10.0.0.1", "2002:a00:1::", "ff02::1"],
)  # fmt: skip
def test_addresses_that_are_nobodys_or_our_own_are_refused(address: str) -> None:
    assert refusal(ip_address(address), TRUST)
    if ":" not in address:
        answer = answer_in(packet(a(address), a("203.0.113.1")), HERE, TRUST)
        assert answer.addresses == {ip_address("203.0.113.1")}
        assert address in answer.refused[0]


def test_a_private_network_counts_where_the_user_allows_it() -> None:
    trust = Trust(allowed=(ip_network("10.1.0.0/16"),))
    assert answer_in(packet(a("10.1.2.3")), HERE, trust).addresses == {IPv4Address("10.1.2.3")}
    assert refusal(ip_address("10.2.0.1"), trust)


@given(st.binary(max_size=600))
def test_any_bytes_are_an_answer_or_a_wire_error(data: bytes) -> None:
    with suppress(WireError):
        answer_in(data, HERE, TRUST)


@given(st.binary(max_size=200))
def test_any_records_behind_our_question_are_an_answer_or_a_wire_error(data: bytes) -> None:
    with suppress(WireError):
        answer_in(packet()[:6] + b"\0\1\0\0\0\0" + packet()[12:] + data, HERE, TRUST)
