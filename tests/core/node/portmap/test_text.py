from ginnel.core.node.portmap.text import lines, view
from ginnel.words import Instant
from tests.core.node.portmap.routers import PCP, PMP, SSDP, Bench, Router, mapped


def text(bench: Bench, **options: bool) -> str:
    return "\n".join(lines(view(bench.mapper, Instant(bench.now), **options)))


def test_a_mapping_is_told_with_protocol_address_and_lifetime() -> None:
    assert text(mapped(Router({PCP, PMP})).after(100)) == (
        "Router:   192.168.1.1 on eth0\n"
        "Speaks:   PCP, NAT-PMP\n"
        "Mapping:  203.0.113.5:50000 -> 192.168.1.7:41641 by PCP\n"
        "Lifetime: 7200 s, 7099 s remain, renewed in 3499 s"
    )


def test_a_upnp_router_says_its_name() -> None:
    assert "192.168.1.1 on eth0 (Acme Box 7)" in text(mapped(Router({SSDP})))


def test_double_nat_and_foreign_addresses_are_named() -> None:
    assert "another NAT stands before" in text(mapped(Router({PCP}, outside="10.0.0.1")))
    assert "Not told to peers" in text(mapped(Router({PCP})), advertised=False)


def test_nothing_mapped_is_one_line_of_why_at_the_end() -> None:
    assert text(Bench(Router(set())).start().after(1)).splitlines()[-1] == (
        "no port is mapped: the router speaks neither PCP nor NAT-PMP nor UPnP; "
        "it is for the router's settings to allow it"
    )
    off = Bench(Router(set()))
    assert text(off).startswith("no port is mapped: the node is down, it is switched off")


def test_the_members_say_the_same_for_programs() -> None:
    bench = mapped(Router({PMP}))
    members = view(bench.mapper, Instant(bench.now))
    assert (members["State"], members["Protocol"], members["External"]) == ("held", "NAT-PMP", "203.0.113.5:50000")
    assert (members["UPnP"], members["PMP"], members["PCP"]) == (False, True, False)
    assert members["LifetimeSeconds"] == 7200
