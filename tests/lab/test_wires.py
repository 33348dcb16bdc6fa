import re

import pytest

from ginnel.lab import LabError
from ginnel.lab.catalogue import scenario_named
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import SERVER, kind_named, network
from ginnel.lab.line import Impairment
from ginnel.lab.probe import probe
from ginnel.lab.processes import until
from ginnel.lab.traffic import throughput

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("leaves_nothing")]
LONG = Impairment(delay=0.020)


def ping(lab: Lab, host: str, to: str, *options: str) -> tuple[int, list[float]]:
    """Answers, and their round trips in milliseconds."""
    try:
        said = lab.spaces[host].run(["ping", "-n", "-i", "0.01", "-W", "1", *options, to])
    except LabError as error:
        assert "100% packet loss" in str(error) or "PING" in str(error)
        return 0, []
    times = [float(found) for found in re.findall(r"time=([\d.]+) ms", said)]
    return len(times), times


def test_a_ping_sees_the_delay_of_each_wire_it_crosses():
    with Lab(network(a="easy", b="none"), {"nat-a": LONG, "b": LONG}) as lab:
        count, one = ping(lab, "a", lab.addresses[SERVER], "-c", "10")
        assert (count, 40 <= min(one) < 60) == (10, True), one
        count, two = ping(lab, "a", lab.addresses["b"], "-c", "10")
        assert (count, 80 <= min(two) < 110) == (10, True), two


def test_a_wire_changes_while_the_lab_stands():
    with Lab(network(a="none"), {"a": Impairment()}) as lab:
        server = lab.addresses[SERVER]
        assert min(ping(lab, "a", server, "-c", "10")[1]) < 20
        lab.wires.change("a", ways=("up",), delay=0.05)
        assert min(ping(lab, "a", server, "-c", "3")[1]) >= 50
        lab.wires.change("a", delay=0.0, mtu=1000)
        until(lambda: ping(lab, "a", server, "-c", "2", "-s", "900")[0] == 2 or None, 10, "both answers")
        assert ping(lab, "a", server, "-c", "2", "-s", "1100")[0] == 0
        state = lab.wires.change("a", mtu=0, loss=1.0)
        assert state["up"]["count"]["too_big"] >= 2
        assert state["down"]["impairment"] == {**state["up"]["impairment"], "loss": 1.0}
        assert ping(lab, "a", server, "-c", "3")[0] == 0
        lab.wires.change("a", loss=0.0)  # the neighbour may have been given up meanwhile, and is asked for anew
        until(lambda: ping(lab, "a", server, "-c", "3")[0] == 3 or None, 10, "all of three answers")


def test_what_is_no_wire_or_no_word_is_said_in_one_line():
    with Lab(network(a="none"), {"a": LONG}) as lab:
        with pytest.raises(LabError, match="wire b: KeyError"):
            lab.wires.change("b", delay=0.1)
        with pytest.raises(LabError, match="loss is a part of all frames"):
            lab.wires.change("a", loss=2.0)
        with pytest.raises(LabError, match="wire a: TypeError"):
            lab.wires.change("a", colour=2.0)
    with Lab(network(a="none")) as lab, pytest.raises(LabError, match="do not answer"):
        lab.wires.change("a", delay=0.1)


def test_a_network_with_long_links_is_still_what_it_claims():
    scenario = scenario_named("easy-easy-20ms")
    with Lab(scenario.topology(), scenario.lengths()) as lab:
        assert sorted(scenario.lengths()) == ["nat-alice", "nat-bob"]
        assert kind_named("easy").traits.differences(probe(lab, "alice")) == []


def test_full_frames_pass_whole_at_some_megabits():
    """Through two wires there and back, as fast as a TCP stream gets it."""
    with Lab(network(a="easy", b="none"), {"nat-a": Impairment(delay=0.005), "b": Impairment(delay=0.005)}) as lab:
        assert throughput(lab.spaces["a"], lab.spaces["b"], lab.addresses["b"], 1.0) > 1e6
