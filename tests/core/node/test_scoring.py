from __future__ import annotations

import pytest

from ginnel.core.node.scoring import Proven, better
from ginnel.words import Endpoint


def at(text: str, milliseconds: float = 100, mtu: int = 1360) -> Proven:
    return Proven(Endpoint.parse(text), milliseconds / 1000, mtu)


PUBLIC, OTHER = "192.0.2.1:1", "198.51.100.1:1"
LAN, V6, V6_LAN, LOOPBACK, LINK = "10.0.0.2:1", "[2001:db8::1]:1", "[fd00::1]:1", "127.0.0.1:1", "169.254.1.1:1"


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (at(PUBLIC), None, True),
        (at(PUBLIC), at(PUBLIC), False),
        (at(PUBLIC, mtu=1500), at(PUBLIC), True),
        (at(PUBLIC, 50), at(OTHER, 100), True),
        (at(PUBLIC, 100), at(OTHER, 50), False),
        (at(PUBLIC, 99), at(OTHER, 100), False),  # one percent is noise
        (at(PUBLIC, 98), at(OTHER, 100), True),
        (at(LAN, 100), at(PUBLIC, 100), True),
        (at(LAN, 100), at(PUBLIC, 85), True),  # 20 points against 15
        (at(LAN, 100), at(PUBLIC, 70), False),
        (at(V6, 100), at(PUBLIC, 100), True),
        (at(V6, 100), at(PUBLIC, 80), False),
        (at(V6_LAN, 100), at(LAN, 100), True),
        (at(LOOPBACK, 100), at(LAN, 100), True),
        (at(LINK, 100), at(LAN, 100), True),
        (at(PUBLIC, 100), at(LAN, 100), False),
    ],
)
def test_which_of_two_addresses_is_better(a: Proven, b: Proven | None, expected: bool) -> None:
    assert better(a, b) is expected
