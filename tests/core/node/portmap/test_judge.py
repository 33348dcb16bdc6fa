from ipaddress import IPv4Address

import pytest

from ginnel.core.node.portmap.actions import Granted
from ginnel.core.node.portmap.judge import is_foreign, objection


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("203.0.113.5", None),
        ("10.0.0.1", None),
        ("192.168.178.2", None),
        ("0.0.0.0", "no_address"),
        ("0.1.2.3", "no_address"),
        ("127.8.8.8", "impossible_address"),
        ("169.254.0.1", "impossible_address"),
        ("224.0.0.1", "impossible_address"),
        ("240.0.0.1", "impossible_address"),
        ("255.255.255.255", "impossible_address"),
        ("100.64.0.1", "tailnet_address"),
    ],
)
def test_which_addresses_may_be_ours(address: str, reason: str | None) -> None:
    assert objection(Granted(IPv4Address(address), 2000, 7200)) == reason


@pytest.mark.parametrize(("port", "lifetime"), [(1023, 7200), (0, 7200), (2000, 0), (2000, 29)])
def test_privileged_ports_and_short_lives_are_refused(port: int, lifetime: int) -> None:
    assert objection(Granted(IPv4Address("203.0.113.5"), port, lifetime)) is not None


@pytest.mark.parametrize(
    ("mapped", "seen", "foreign"),
    [
        ("203.0.113.5", [], False),
        ("203.0.113.5", ["203.0.113.5"], False),
        ("203.0.113.5", ["198.51.100.7", "203.0.113.5"], False),
        ("203.0.113.5", ["198.51.100.7"], True),
        ("203.0.113.5", ["192.168.1.7"], False),
        ("203.0.113.5", ["192.168.1.7", "198.51.100.7"], True),
        ("10.0.0.1", ["198.51.100.7"], False),
    ],
)
def test_an_address_at_which_no_server_outside_ever_saw_us_is_somebody_elses(
    mapped: str, seen: list[str], foreign: bool
) -> None:
    assert is_foreign(IPv4Address(mapped), map(IPv4Address, seen)) is foreign
