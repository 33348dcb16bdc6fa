import pytest

from ginnel.lab import LabError
from ginnel.lab.capture import Capture, telltale
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import network
from ginnel.lab.topology import INTERNET
from ginnel.lab.traffic import Conversation, throughput

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("leaves_nothing")]
SIZE = 1 << 12


def test_a_capture_sees_a_payload_in_the_clear():
    payload, needle = telltale(SIZE)
    with Lab(network(a="easy")) as lab:
        server = lab.spaces["server"]
        with (
            Capture(server, "eth0", needle) as capture,
            Conversation(lab.spaces["a"], server, lab.addresses["server"], 3) as talk,
        ):
            talk.send_and_wait(payload, 20)
        assert talk.intact()
        assert 0 < talk.seconds_to_first_byte < 10
    assert capture.seen.with_needle > 0
    assert capture.seen.bytes > len(payload)
    assert capture.seen.lost == 0


def test_a_capture_does_not_see_what_is_not_there():
    payload, _ = telltale(SIZE)
    _, another = telltale(1)
    with Lab(network(a="none")) as lab:
        server = lab.spaces["server"]
        with (
            Capture(server, "eth0", another) as capture,
            Conversation(lab.spaces["a"], server, lab.addresses["server"], 3) as talk,
        ):
            talk.send_and_wait(payload, 20)
    assert capture.seen.with_needle == 0
    assert capture.seen.bytes > len(payload)


def test_a_capture_ends_while_the_interface_is_never_quiet():
    with (
        Lab(network(a="none")) as lab,
        Conversation(lab.spaces["a"], lab.spaces["server"], lab.addresses["server"], 3) as talk,
    ):
        with Capture(lab.spaces["server"], "eth0", b"something") as capture:
            talk.send_and_wait(b"something", 10)
        assert capture.seen.with_needle > 0
        assert talk.trickler.is_alive()


@pytest.mark.parametrize("cut", [0, 1, 63, 64, 65])
def test_any_80_bytes_of_a_payload_hold_the_needle(cut):
    payload, needle = telltale(4)
    assert needle in payload[cut : cut + 80]


def test_no_way_through_is_said_in_one_line():
    with Lab(network(a="easy")) as lab:
        lab.block(INTERNET, "drop")
        with (
            pytest.raises(LabError, match="no TCP connection to"),
            Conversation(lab.spaces["a"], lab.spaces["server"], lab.addresses["server"], 0.2),
        ):
            pass


def test_a_stream_that_is_cut_is_not_called_whole():
    with (
        Lab(network(a="easy")) as lab,
        Conversation(lab.spaces["a"], lab.spaces["server"], lab.addresses["server"], 3) as talk,
    ):
        talk.send_and_wait(b"first", 10)
        assert talk.intact()
        lab.block(INTERNET, "drop")
        with pytest.raises(LabError, match="to arrive"):
            talk.send_and_wait(b"second", 0.3)
        assert not talk.intact()


def test_throughput_counts_what_arrives():
    with Lab(network(a="easy")) as lab:
        assert throughput(lab.spaces["a"], lab.spaces["server"], lab.addresses["server"], 0.2) > 1e6


def test_throughput_over_no_way_is_one_line():
    with Lab(network(a="easy")) as lab:
        lab.spaces["server"].run(["nft", "add", "rule", "inet", "lab", "input", "meta", "l4proto", "tcp", "reject"])
        with pytest.raises(LabError, match="no TCP connection"):
            throughput(lab.spaces["a"], lab.spaces["server"], lab.addresses["server"], 0.2)
