from ipaddress import IPv4Address

from ginnel.core.node.actions import Resolve
from ginnel.core.node.names import HOSTS_KEPT, LOOKUP_AGAIN, LOOKUP_KEPT, Names
from ginnel.wire.tailcfg import DERPNode
from ginnel.words import Instant, IpAddress

T0 = Instant(1000.0)


def relay(number: int) -> DERPNode:
    return DERPNode(f"{number}a", number, f"r{number}.example")


def test_a_name_is_asked_for_again_only_after_a_while() -> None:
    names = Names()
    assert names.lookups(relay(1), T0) == [Resolve("r1.example")]
    assert names.lookups(relay(1), T0) == []
    assert names.lookups(relay(1), Instant(T0 + LOOKUP_AGAIN)) == [Resolve("r1.example")]


def test_more_names_than_are_kept_push_out_the_oldest_and_stop_nobody() -> None:
    names = Names()
    for number in range(HOSTS_KEPT + 5):
        assert names.lookups(relay(number), T0) == [Resolve(f"r{number}.example")]
        names.resolved(f"r{number}.example", [ADDRESS], T0)
    assert names.addresses(relay(0)) == ()
    assert names.addresses(relay(HOSTS_KEPT + 4)) == (ADDRESS,)
    later = Instant(T0 + LOOKUP_KEPT)
    assert names.lookups(relay(HOSTS_KEPT + 4), later) == [Resolve(f"r{HOSTS_KEPT + 4}.example")]
    assert len(names._asked) == len(names._found) == HOSTS_KEPT


ADDRESS: IpAddress = IPv4Address("192.0.2.1")
