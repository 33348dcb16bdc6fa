"""How the tunnel's port is tried: what the daemon says of it, and what it does not say."""

import pytest

from ginnel.core.firewall.report import Result
from ginnel.core.firewall.tried import Asked
from ginnel.shell.firewall.tunnel import by_daemon
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion

NODE = DERPNode("1a", 1, "derp1a.example.com", ipv4="203.0.113.1")
ASKED = Asked(DERPMap(regions={1: DERPRegion(1, "one", "One", nodes=[NODE])}))


@pytest.mark.parametrize(("mapped", "result"), [("198.51.100.7:41641", Result.PASSED), ("", Result.FAILED)])
def test_the_daemon_s_net_check_says_whether_the_port_gets_answers(mapped: str, result: Result) -> None:
    seen = by_daemon({"UDP": bool(mapped), "GlobalV4": mapped}, ASKED)
    assert [check.result for check in seen.checks] == [result]


def test_a_net_check_that_says_nothing_is_no_sign_of_a_firewall() -> None:
    seen = by_daemon({}, ASKED)
    assert seen.checks == ()
    assert "said nothing" in seen.how
