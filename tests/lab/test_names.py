"""The resolver of a lab: what it is asked for, and what it answers."""

import socket

import pytest

from ginnel.lab.instance import Lab
from ginnel.lab.kinds import network
from ginnel.lab.names import NoNames, no_such_name, question

QUERY = bytes.fromhex("beef01000001000000000000") + b"\x03log\x09Tailscale\x03com\0\0\x01\0\x01"  # RFC 1035 4.1


def test_reads_the_first_name_and_where_it_ends() -> None:
    assert question(QUERY) == ("log.tailscale.com", len(QUERY))


@pytest.mark.parametrize("size", range(len(QUERY)))
def test_a_query_cut_short_is_none(size: int) -> None:
    assert question(QUERY[:size]) is None


def test_says_that_there_is_no_such_name() -> None:
    assert no_such_name(QUERY + b"more", len(QUERY)) == b"\xbe\xef\x81\x83\0\1" + bytes(6) + QUERY[12:]


@pytest.mark.root
def test_counts_what_a_host_asks_for() -> None:
    with Lab(network(alice="none")) as lab:
        address = lab.plan.observer[0]
        asker = lab.spaces["alice"].socket(socket.SOCK_DGRAM, ("0.0.0.0", 0))
        with NoNames(lab.spaces["observer"], address) as names, asker:
            asker.settimeout(10)
            asker.sendto(b"no query", (address, 53))
            asker.sendto(QUERY, (address, 53))
            assert asker.recv(512) == no_such_name(QUERY, len(QUERY))
        assert names.below("tailscale.com", "example.com") == ["log.tailscale.com"]
        assert names.below("scale.com") == []
