import pytest

from ginnel.lab.topology import CORE, INTERNET, Host, Router, Topology

HOME = Router("home", "easy")


def test_the_way_to_the_internet_names_each_router_on_it():
    carrier = Router("isp", "easy", carrier=True)
    made = Topology((carrier, Router("home", "easy", uplink="isp")), (Host("alice", on="home"), Host("bob")))
    assert made.path_to_internet("alice") == ["home", "isp"]
    assert made.path_to_internet("bob") == []


@pytest.mark.parametrize("name", ["", "Alice", "a" * 14, "a b", "a;reboot", "1a", INTERNET, CORE, "observer", "home"])
def test_a_name_that_is_no_fresh_name_is_refused(name):
    with pytest.raises(ValueError, match="no fresh name"):
        Topology((HOME,), (Host(name, on="home"),))


def test_nothing_hangs_on_what_does_not_stand():
    with pytest.raises(ValueError, match="does not stand before it"):
        Topology((HOME,), (Host("alice", on="office"),))


def test_nothing_hangs_on_a_host():
    with pytest.raises(ValueError, match="does not stand before it"):
        Topology((), (Host("alice"), Host("bob", on="alice")))
