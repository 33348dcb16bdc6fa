import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.lab.datagrams import SIZE, Datagrams, OneWay, longest_gap
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import SERVER, network
from ginnel.lab.processes import until
from ginnel.lab.topology import INTERNET


def sent(*times: float) -> tuple[OneWay, list[bytes]]:
    way = OneWay()
    return way, [way.leave(at) for at in times]


def test_what_has_not_arrived_is_lost_to_the_time_in_which_it_was_sent():
    way, packets = sent(1.0, 2.0, 3.0, 4.0, 5.0)
    for number in (0, 2, 4):
        way.arrive(packets[number], 9.0)
    assert way.lost(0.0, 10.0) == 2
    assert way.lost(2.0, 4.0) == 1
    assert way.lost(2.5, 4.0) == 0
    assert len(way.between(2.0, 4.0)) == 2


def test_a_second_copy_and_another_order_change_nothing():
    way, packets = sent(1.0, 2.0)
    for packet, at in ((packets[1], 2.1), (packets[0], 2.2), (packets[1], 7.0)):
        way.arrive(packet, at)
    assert way.arrived == [2.2, 2.1]
    assert way.lost(0.0, 10.0) == 0


def test_a_way_is_open_again_when_something_sent_afterwards_arrives():
    way, packets = sent(1.0, 2.0, 3.0)
    way.arrive(packets[0], 2.5)
    assert way.through(1.5) is None
    way.arrive(packets[2], 3.5)
    way.arrive(packets[1], 3.6)
    assert way.through(1.5) == 3.5


@given(st.binary(max_size=SIZE + 8))
def test_strange_datagrams_are_nobodys(packet):
    way, _ = sent(1.0)
    way.arrive(packet, 2.0)
    assert way.arrived == [0.0]


def test_a_number_that_was_never_sent_is_nobodys():
    way, _ = sent(1.0)
    _, packets = sent(1.0, 2.0)
    way.arrive(packets[1], 2.5)
    assert way.arrived == [0.0]


@pytest.mark.parametrize(
    ("times", "gap"),
    [([], 10.0), ([4.0], 6.0), ([1.0, 9.5], 8.5), ([9.0, 1.0, 5.0], 4.0), ([-3.0, 5.0, 30.0], 5.0)],
)
def test_silence_is_counted_from_end_to_end(times, gap):
    assert longest_gap(times, 0.0, 10.0) == gap


@pytest.mark.root
@pytest.mark.usefixtures("leaves_nothing")
class TestInTheLab:
    def test_each_way_loses_its_own_and_the_far_end_waits_to_be_spoken_to(self):
        begin = threading.Event()
        with Lab(network(a="none")) as lab:
            near, far = ((lab.spaces[name], lab.addresses[name]) for name in ("a", SERVER))
            lab.block(INTERNET, f"ip daddr {far[1]} meta l4proto udp drop")
            with Datagrams(near, far, begin) as datagrams:
                there, back = datagrams.ways
                assert there.sent == []
                begin.set()
                until(lambda: len(there.sent) > 5 or None, 10, "some datagrams to leave")
                assert (back.sent, any(there.arrived)) == ([], False)
                lab.unblock()
                until(lambda: back.through(0.0), 10, "an answer")
                lab.block(INTERNET, f"ip saddr {far[1]} meta l4proto udp drop")
                blocked = len(back.sent)
                until(lambda: len(back.sent) > blocked + 10 or None, 10, "the far end to go on")
            assert there.lost(0.0, there.sent[5]) == 5
            assert back.lost(back.sent[blocked + 1], back.sent[-1]) > 5
            assert there.lost(there.sent[-6], there.sent[-3]) == 0

    def test_one_that_never_begins_ends_nevertheless(self):
        with Lab(network(a="none")) as lab:
            near = lab.spaces["a"], lab.addresses["a"]
            with Datagrams(near, near, threading.Event()) as datagrams:
                assert all(isinstance(end, socket.socket) for end in datagrams.ends)
            assert datagrams.ways[0].sent == []
