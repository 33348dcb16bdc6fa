from __future__ import annotations

import pytest

from ginnel.core.node.candidates import Candidates, bounded
from ginnel.core.node.constants import (
    CALL_ME_MAYBE_ENDPOINTS,
    CANDIDATES_PER_IP,
    CANDIDATES_PRUNED_AT,
    NEW_ENDPOINTS_BURST,
    NEW_ENDPOINTS_RATE,
)
from ginnel.words import Endpoint, Instant

T0 = Instant(100.0)
MAP, CALLED, PINGED = (Endpoint.parse(f"192.0.2.{n}:1") for n in (1, 2, 3))


@pytest.mark.parametrize(
    "text",
    ["192.0.2.1:0", "224.0.0.1:1", "127.0.0.1:1", "127.3.3.40:1", "0.0.0.0:1", "255.255.255.255:1", "100.64.0.1:1",
     "[fd7a:115c:a1e0::1]:1", "[fe80::1]:1", "[ff02::1]:1", "[::1]:1", "[::]:1", "[::ffff:127.0.0.1]:1", "240.0.0.1:1"],
)  # fmt: skip
def test_addresses_that_nobody_may_make_us_probe(text: str) -> None:
    assert bounded([Endpoint.parse(text)], 10) == []


def test_a_message_with_ten_thousand_endpoints_gives_a_few() -> None:
    many = [Endpoint.parse(f"198.51.{n // 250}.{n % 250 + 1}:{n + 1}") for n in range(10_000)]
    candidates = Candidates()
    candidates.from_call_me_maybe(many, T0)
    assert len(candidates) == CALL_ME_MAYBE_ENDPOINTS


def test_nobody_makes_us_scan_the_ports_of_one_host() -> None:
    assert len(bounded([Endpoint.parse(f"192.0.2.1:{n}") for n in range(1, 100)], 50)) == CANDIDATES_PER_IP


def test_each_source_replaces_only_its_own_list() -> None:
    candidates = Candidates()
    candidates.from_map([MAP], T0)
    candidates.from_call_me_maybe([CALLED], T0)
    candidates.from_ping(PINGED, T0)
    candidates.from_map([], T0)
    assert set(candidates) == {CALLED, PINGED}
    candidates.from_call_me_maybe([], T0)
    assert set(candidates) == {PINGED}


def test_a_ping_names_its_source_for_a_while() -> None:
    candidates = Candidates()
    candidates.from_ping(PINGED, T0)
    candidates.expire(Instant(T0 + 44.9))
    assert set(candidates) == {PINGED}
    candidates.expire(Instant(T0 + 45.1))
    assert set(candidates) == set()


def test_pings_from_everywhere_take_bounded_memory_and_no_listed_place() -> None:
    candidates = Candidates()
    candidates.from_map([MAP], T0)
    for number in range(1000):
        candidates.from_ping(Endpoint(PINGED.ip, number + 1), Instant(T0 + number / 1000))
    assert len(candidates) <= CANDIDATES_PRUNED_AT
    assert MAP in set(candidates)


def test_a_peer_cannot_make_us_scan_a_host_by_calling_with_other_ports_each_time() -> None:
    candidates = Candidates()
    named: set[Endpoint] = set()
    for call in range(1000):
        now = Instant(T0 + call / 100)
        candidates.from_call_me_maybe([Endpoint.parse(f"192.0.2.1:{1024 + 8 * call + n}") for n in range(8)], now)
        named |= set(candidates)
    assert len(named) <= NEW_ENDPOINTS_BURST + 10 * NEW_ENDPOINTS_RATE


def test_a_peer_that_moves_each_few_seconds_is_followed() -> None:
    candidates = Candidates()
    for move in range(40):
        now = Instant(T0 + 5 * move)
        here = [Endpoint.parse(f"192.0.2.{move + 1}:{1000 + n}") for n in range(5)]
        assert candidates.from_call_me_maybe(here, now)
        assert set(here) <= set(candidates)
