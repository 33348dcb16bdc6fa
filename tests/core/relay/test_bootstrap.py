"""Which addresses of which names a relay tells clients whose DNS fails."""

from ipaddress import IPv4Address, ip_address

import pytest

from ginnel.core.firewall.checked import Refused
from ginnel.core.relay.bootstrap import MOST_NAMES, BootstrapNames, names_of
from ginnel.core.relaydns.zone import HostAddresses

PUBLIC, OTHER, PRIVATE = (IPv4Address(text) for text in ("192.0.2.1", "192.0.2.2", "10.0.0.1"))
SIX = ip_address("2001:db8::1")


def plain(_: object) -> None:
    """No shuffling."""


def test_both_families_of_published_names_are_told_to_everybody() -> None:
    names = BootstrapNames(frozenset({"a.example"}))
    known = {"a.example": HostAddresses((PUBLIC,), (SIX,))}  # type: ignore[arg-type]
    assert names.answers(known, plain) == ({"a.example": [PUBLIC, SIX]}, {})


def test_unpublished_names_stand_apart() -> None:
    names = BootstrapNames(frozenset({"a.example"}), frozenset({"b.example", "a.example"}))
    known = {name: HostAddresses((PUBLIC,)) for name in ("a.example", "b.example")}
    assert names.answers(known, plain) == ({"a.example": [PUBLIC]}, {"b.example": [PUBLIC]})


def test_a_private_address_goes_out_only_where_the_operator_wrote_it_down() -> None:
    known = {"a.example": HostAddresses((PRIVATE, PUBLIC))}
    assert BootstrapNames(frozenset({"a.example"})).answers(known, plain)[0] == {"a.example": [PUBLIC]}
    given = BootstrapNames(frozenset({"a.example"}), given={"a.example": (PRIVATE,)})
    assert given.answers(known, plain)[0] == {"a.example": [PRIVATE, PUBLIC]}


def test_addresses_that_were_written_down_need_no_dns() -> None:
    names = BootstrapNames(frozenset({"a.example"}), given={"a.example": (PUBLIC,)})
    assert names.answers({}, plain)[0] == {"a.example": [PUBLIC]}


def test_a_name_without_an_address_is_left_out() -> None:
    names = BootstrapNames(frozenset({"a.example"}), frozenset({"b.example"}))
    assert names.answers({"a.example": HostAddresses((PRIVATE,), ())}, plain) == ({}, {})


def test_the_order_of_addresses_is_drawn() -> None:
    names = BootstrapNames(frozenset({"a.example"}))
    known = {"a.example": HostAddresses((PUBLIC, OTHER))}
    assert names.answers(known, lambda ips: ips.reverse())[0] == {"a.example": [OTHER, PUBLIC]}


def test_names_of_a_server_are_added_as_far_as_they_are_names_and_there_is_room() -> None:
    names = BootstrapNames(frozenset({"a.example"})).with_published(["B.example", "192.0.2.1", "", "localhost", "x y"])
    assert names.published == {"a.example", "b.example"}
    many = names.with_published(f"n{number}.example" for number in range(1000))
    assert len(many.published) == MOST_NAMES


def test_the_flag_is_names_with_commas_between() -> None:
    assert names_of("") == frozenset()
    assert names_of("A.example, b.example,") == {"a.example", "b.example"}


@pytest.mark.parametrize("text", ["a.example/txt.example", "192.0.2.1", "no name"])
def test_anything_else_in_the_flag_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        names_of(text)
