"""Nobody gets an address that another has, or had a moment ago."""

import time
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ginnel.core.control.addresses import COOL_DOWN, V4, V6, AddressPool, NoAddressLeft

NEVER = [
    *map(ip_address, ("100.64.0.0", "100.127.255.255", "fd7a:115c:a1e0::", "fd7a:115c:a1e0:ffff:ffff:ffff:ffff:ffff")),
    ip_address("fd7a:115c:a1e0::53"),
]
NEVER_IN = [
    ip_network(text)
    for text in (
        "100.100.100.0/24",
        "100.115.92.0/23",
        "fd7a:115c:a1e0:ab12:4843:cd96:6200::/104",
        "fd7a:115c:a1e0:b1a::/64",
        "fd7a:115c:a1e0:efe3::/64",
    )
]


def test_addresses_come_in_order_from_the_first():
    pool = AddressPool()
    assert pool.allocate(0.0) == (IPv4Address("100.64.0.1"), IPv6Address("fd7a:115c:a1e0::1"))
    assert pool.allocate(0.0) == (IPv4Address("100.64.0.2"), IPv6Address("fd7a:115c:a1e0::2"))


@pytest.mark.parametrize(
    ("last", "following"),
    [
        ("100.100.99.255", "100.100.101.0"),
        ("100.115.91.255", "100.115.94.0"),
        ("100.127.255.254", "100.64.0.1"),
        ("fd7a:115c:a1e0::52", "fd7a:115c:a1e0::54"),
        ("fd7a:115c:a1e0:b19:ffff:ffff:ffff:ffff", "fd7a:115c:a1e0:b1b::"),
        ("fd7a:115c:a1e0:ab11:ffff:ffff:ffff:ffff", "fd7a:115c:a1e0:ab13::"),
        ("fd7a:115c:a1e0:efe2:ffff:ffff:ffff:ffff", "fd7a:115c:a1e0:efe4::"),
        ("fd7a:115c:a1e0:ffff:ffff:ffff:ffff:fffe", "fd7a:115c:a1e0::1"),
    ],
)
def test_reserved_ranges_are_stepped_over(last, following):
    assert ip_address(following) in AddressPool(used=[ip_address(last)]).allocate(0.0)


def test_a_new_start_goes_on_after_the_last_used_or_resting():
    pool = AddressPool([ip_address("100.64.0.5")], [(ip_address("100.64.0.9"), 50.0)])
    assert pool.allocate(60.0)[0] == ip_address("100.64.0.10")


operations = st.lists(
    st.tuples(st.just("allocate"), st.just(0)) | st.tuples(st.sampled_from(["free", "wait"]), st.integers(0, 9)),
    max_size=60,
)
starts = st.sampled_from([None, "100.127.255.250", "100.100.99.253", "100.115.91.254", "100.64.0.3"])


@settings(max_examples=300)
@given(operations, starts)
def test_no_address_is_given_while_it_is_in_use_or_rests(steps, start):
    held = [(ip_address(start), ip_address("fd7a:115c:a1e0::50"))] if start else []
    pool = AddressPool([address for pair in held for address in pair], cool_down=10.0)
    now, freed = 100.0, {}
    for what, number in steps:
        if what == "wait":
            now += number
        elif what == "free" and held:
            pair = held.pop(number % len(held))
            pool.free(pair, now)
            freed |= dict.fromkeys(pair, now)
        elif what == "allocate":
            pair = pool.allocate(now)
            for address, net in zip(pair, (V4, V6), strict=True):
                assert address in net and address not in NEVER
                assert not any(address in reserved for reserved in NEVER_IN)
                assert all(address not in other for other in held)
                assert now - freed.get(address, -1e9) >= 10.0
            held.append(pair)


@given(st.lists(st.integers(0, 3), max_size=40))
def test_in_a_small_range_addresses_come_round_and_run_out(steps):
    """All but five addresses are in use, so that the cursor goes round and round."""
    from ginnel.core.control.addresses import _Range

    numbers = range(1, 15)  # 192.0.2.0/28 has 14
    net = ip_network("192.0.2.0/28")
    base = int(net.network_address)
    room = _Range(net, [base + n for n in numbers if n > 5], [], 10.0)
    held, freed, now = [], {}, 0.0
    for step in steps:
        now += step
        blocked = set(held) | {n for n, time in freed.items() if now - time < 10.0}
        if step == 3 and held:
            number = held.pop(0)
            room.free(number, now)
            freed[number] = now
        elif len(blocked) == 5:
            with pytest.raises(NoAddressLeft, match="no address is left"):
                room.allocate(now)
        else:
            number = room.allocate(now)
            assert number not in blocked and 1 <= number - base <= 5
            held.append(number)


def test_an_address_rests_for_a_day_across_a_restart():
    address = ip_address("100.127.255.254")  # the last one: the next allocation goes round
    used = [IPv4Address("100.64.0.0") + n for n in range(1, 4)]
    pool = AddressPool(used, [(address, 1000.0)])
    assert pool.allocate(1000.0 + COOL_DOWN - 1)[0] == ip_address("100.64.0.4")


def test_giving_back_what_is_not_in_use_is_an_error():
    pool = AddressPool()
    pair = pool.allocate(0.0)
    pool.free(pair, 1.0)
    with pytest.raises(KeyError):
        pool.free(pair, 2.0)


def test_a_hundred_thousand_nodes_come_and_go_in_a_moment():
    began = time.process_time()
    pool = AddressPool()
    pairs = [pool.allocate(0.0) for _ in range(100_000)]
    for pair in pairs[::2]:
        pool.free(pair, 1.0)
    pairs += [pool.allocate(2.0 + COOL_DOWN) for _ in range(50_000)]
    assert len(set(pairs)) == 150_000
    assert time.process_time() - began < 5.0, "0.4 s on one slow core"
