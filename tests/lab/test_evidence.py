import pytest

from ginnel.lab.evidence import deduced, flow_of


@pytest.mark.parametrize(
    ("a", "b", "told", "technique"),
    [
        ("none", "hard-random", (True, False), "answer"),
        ("full-cone", "pcp", (True, True), "answer"),
        ("hard-random", "upnp", (False, True), "mapping"),
        ("easy-address-dependent", "upnp", (True, False), "punch"),
        ("easy", "upnp", (True, False), "birthday"),
        ("easy-address-dependent", "hard-random", (True, False), "punch"),
        ("easy", "double-nat", (True, True), "punch"),
        ("easy", "hard-random", (True, False), "birthday"),
        ("hard-sequential", "easy", (False, True), "prediction"),
        ("hard-sequential", "hard-sequential", (False, False), "prediction"),
        ("easy", "easy-bare", (True, False), "quiet-punch"),
        ("easy", "easy-bare", (True, True), "punch"),
        ("easy-bare", "hard-random", (True, False), "birthday"),
    ],
)
def test_an_endpoint_that_its_owner_never_told_was_found_by_probing(a, b, told, technique):
    assert deduced((a, b), told) == technique


def test_a_tracked_flow_is_read_as_inside_port_and_mapping():
    line = (
        "udp      17 25 src=192.168.11.10 dst=192.0.2.6 sport=41641 dport=7 [UNREPLIED] "
        "src=192.0.2.6 dst=198.51.100.6 sport=7 dport=5001 mark=0 use=1"
    )
    assert flow_of(line) == "192.168.11.10:41641>5001 to 7 unreplied"


def test_a_line_that_is_no_flow_stays_as_it_is():
    assert flow_of("conntrack v1.4.7") == "conntrack v1.4.7"
