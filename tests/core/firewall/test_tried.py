from ipaddress import ip_address

import pytest

from ginnel.core.firewall.evidence import Ending, Evidence, Leaf, Step
from ginnel.core.firewall.needs import Role
from ginnel.core.firewall.tried import (
    Asked,
    Server,
    judged_name,
    relays,
    servers,
    told_names,
    with_own_certificate,
)
from ginnel.core.firewall.verdict import classify
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion

ONE, OTHER, SIX = ip_address("192.0.2.1"), ip_address("203.0.113.9"), ip_address("2001:db8::1")
NOWHERE, OWN_NAME = ip_address("0.0.0.0"), ip_address("127.0.1.1")


def node(**members: object) -> DERPNode:
    known = {"name": "1a", "region_id": 1, "host_name": "derp1a.example.net", "ipv4": "192.0.2.1", "ipv6": ""}
    return DERPNode(**(known | members))  # type: ignore[arg-type]


def asked(*nodes: DERPNode, number: int = 1, **more: object) -> Asked:
    region = DERPRegion(region_id=number, region_code="fra", region_name="Frankfurt", nodes=list(nodes))
    return Asked(DERPMap(regions={number: region, 7: None}), **more)  # type: ignore[arg-type]


def test_ports_of_the_map_make_needs_of_their_own() -> None:
    (usual,) = relays(asked(node(can_port80=True)))
    assert (usual.https.need, usual.stun.need, usual.port80.need) == ("https", "stun", "portal")
    (other,) = relays(asked(node(derp_port=8443, stun_port=3479)))
    assert (other.https.need, other.stun.need) == ("https-8443", "stun-3479")


def test_what_a_relay_does_not_do_is_not_tried() -> None:
    (found,) = relays(asked(node(stun_only=True, stun_port=-1)))
    assert (found.derp_port, found.stun_port, found.portal) == (0, 0, False)


def test_families_are_written_asked_for_or_off() -> None:
    (written,) = relays(asked(node(ipv6="2001:db8::1")))
    assert (written.literals, written.named) == ((ONE, SIX), ())
    (asking,) = relays(asked(node()))
    assert (asking.literals, asking.named) == ((ONE,), (6,))
    (off,) = relays(asked(node(ipv4="none", ipv6="none")))
    assert (off.literals, off.named) == ((), ())
    (address,) = relays(asked(node(host_name="192.0.2.1", ipv4="", ipv6="none")))
    assert (address.literals, address.named) == ((ONE,), ())


@pytest.mark.parametrize("name", ["", "a b", "x\nX-Evil: 1", "-", "$(id)", "a/b", "ü.example"])
def test_a_relay_without_a_usable_name_is_left_out(name: str) -> None:
    assert relays(asked(node(host_name=name))) == ()


@pytest.mark.parametrize("number", [0, -1, 70_000])
def test_a_region_without_a_usable_number_is_left_out(number: int) -> None:
    assert relays(asked(node(), number=number)) == ()


def test_only_the_regions_that_were_asked_for_are_tried_and_no_server() -> None:
    everything = asked(node(), servers=(Server(Role.CONTROL, "https://c.example"),))
    assert len(relays(everything)) == len(list(servers(everything))) == 1
    assert list(servers(asked(node(), servers=everything.servers, regions=(1,)))) == []
    assert relays(asked(node(), regions=(2,))) == ()


def test_each_host_and_port_is_tried_once_as_the_most_it_is() -> None:
    own = (Server(Role.LOG, "https://c.example"), Server(Role.CONTROL, "https://c.example"))
    found = list(servers(asked(node(), servers=(*own, Server(Role.LOG, "http://log.example:8080")))))
    assert [(target.role, target.host, target.port, target.need) for _, target in found] == [
        (Role.CONTROL, "c.example", 443, "https"),
        (Role.LOG, "log.example", 8080, "https-8080"),
    ]


def test_the_map_tells_what_names_should_say() -> None:
    assert told_names(asked(node(), node(name="1b", ipv4="203.0.113.9"))) == {
        "derp1a.example.net": frozenset({ONE, OTHER})
    }


@pytest.mark.parametrize(
    ("answered", "expected", "lies"),
    [
        ((ONE,), {ONE}, False),
        ((OTHER,), {ONE}, True),
        ((OTHER, ONE), {ONE}, False),
        ((SIX,), {ONE}, False),  # of a family that the map says nothing of
        ((OTHER,), set(), False),  # nobody knows better
        ((NOWHERE,), set(), True),
        ((NOWHERE,), {ONE}, True),
        ((ip_address("127.0.0.1"),), {ip_address("127.0.0.1")}, False),
        ((OWN_NAME,), {ONE}, False),  # on the relay itself
        ((OTHER, SIX), {ONE, SIX}, False),
    ],
)
def test_a_name_lies_where_no_address_is_right_or_leads_anywhere(answered: tuple, expected: set, lies: bool) -> None:
    seen = Evidence(Step.NAME, Ending.DONE, answered=answered)
    assert (judged_name(seen, frozenset(expected)).ending is Ending.ANSWER) is lies


def test_a_look_up_that_failed_is_no_lie() -> None:
    failed = Evidence(Step.NAME, Ending.SILENCE)
    assert judged_name(failed, frozenset({ONE})) is failed


def test_a_certificate_that_somebody_vouches_for_is_the_servers_own() -> None:
    leaf = Leaf("203.0.113.10", "203.0.113.10", True, True, 0.0, 1.0, "sha256-raw:" + "ab" * 32)
    seen = Evidence(Step.LOGIN, Ending.DONE, leaf=leaf, problem="self-signed certificate")
    assert classify(with_own_certificate(seen, frozenset({"ab" * 32}))).text == "TLS and login succeed"
    told = classify(with_own_certificate(seen, frozenset({"cd" * 32}))).text
    assert "the certificate is not trusted (self-signed certificate)" in told
