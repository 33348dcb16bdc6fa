from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.firewall.plan import plan
from ginnel.core.firewall.plan_text import NARROWEST, allowed, plan_lines
from tests.core.firewall.maps import derp_map, node, region
from tests.core.firewall.test_plan import facts

SMALL = replace(facts(derp_map(region(1, node(1, stun_port=-1)))), source="derp.json")


def test_a_wide_terminal_has_a_table() -> None:
    assert plan_lines(plan(SMALL), 100) == TABLE.splitlines()[1:]


def test_a_narrow_terminal_has_blocks_and_the_warnings_below() -> None:
    lines = plan_lines(plan(SMALL, "pinned"), 60)
    assert lines == BLOCKS.splitlines()[1:]


def test_what_to_allow_is_said_in_few_words() -> None:
    assert [allowed(need) for need in plan(facts()).needs] == [
        "out TCP to *:443", "out UDP from port 41641 to *:*", "out UDP to *:3478", "out TCP to *:80",
        "in UDP to port 41641 of this machine",
    ]  # fmt: skip
    assert allowed(plan(facts(randomize=True)).needs[1]) == "out UDP to *:*"
    one = plan(facts(derp_map(region(1, node(1, derp_port=8443, host_name="r.example.com")))), "pinned").needs[1]
    assert allowed(one) == "out TCP to port 8443 of 1 host"


@pytest.mark.parametrize("profile", ["recommended", "pinned"])
@given(columns=st.integers(0, 300))
def test_no_line_is_wider_than_the_terminal(profile: str, columns: int) -> None:
    lines = plan_lines(plan(facts(), profile), columns)  # type: ignore[arg-type]
    assert max(map(len, lines)) <= max(columns, NARROWEST)


TABLE = """
What firewalls must let through, profile recommended, facts from derp.json:

RULE       ALLOW (IPv4 and IPv6)                 WHY, AND WHAT HAPPENS WITHOUT IT
https      out TCP to *:443                      The coordination server, sign-in, logs and every
                                                 relay are reached by HTTPS. A machine must reach
                                                 the relays of all regions, since each of its peers
                                                 has a home relay of its own, and relays are added
                                                 from time to time.
                                                 Without it: No machine logs in or hears of changes
                                                 without the server; without a relay, peers that
                                                 have their home there are out of reach, and pairs
                                                 without a direct path lose each other.
                                                 How that looks: Not like a firewall: `ginnel up`
                                                 does not end, or everything works except some pairs
                                                 of machines, which seem picked at random. `ginnel
                                                 firewall verify` names the relay.

tunnel     out UDP from port 41641 to *:*        Direct tunnels: WireGuard leaves from UDP port
                                                 41641 for whatever address and port a peer has,
                                                 behind any home router, guest Wi-Fi or mobile
                                                 network.
                                                 Without it: No direct path: all traffic goes by a
                                                 relay, still end-to-end encrypted.
                                                 How that looks: Slower, with a higher latency:
                                                 `ginnel status` shows relay "..." for every peer,
                                                 `ginnel ping` says "via DERP".

tunnel-in  in UDP to port 41641 of this machine  Optional.
                                                 Peers behind hard NATs can reach this machine
                                                 directly. It may be enough on one of the two
                                                 machines of a pair.
                                                 Without it: Pairs with a hard NAT on both sides
                                                 stay on a relay.
                                                 How that looks: `ginnel status` keeps showing relay
                                                 "..." for some peers, also under traffic.

"""
BLOCKS = """
What firewalls must let through, profile pinned, facts from
derp.json:

https: out TCP to port 443 of 3 hosts (`ginnel firewall
  allowlist`)
  The coordination server, sign-in, logs and every relay are
  reached by HTTPS. A machine must reach the relays of all
  regions, since each of its peers has a home relay of its
  own, and relays are added from time to time.
  Without it: No machine logs in or hears of changes without
  the server; without a relay, peers that have their home
  there are out of reach, and pairs without a direct path
  lose each other.
  How that looks: Not like a firewall: `ginnel up` does not
  end, or everything works except some pairs of machines,
  which seem picked at random. `ginnel firewall verify`
  names the relay.

tunnel: out UDP from port 41641 to *:*
  Direct tunnels: WireGuard leaves from UDP port 41641 for
  whatever address and port a peer has, behind any home
  router, guest Wi-Fi or mobile network.
  Without it: No direct path: all traffic goes by a relay,
  still end-to-end encrypted.
  How that looks: Slower, with a higher latency: `ginnel
  status` shows relay "..." for every peer, `ginnel ping`
  says "via DERP".

tunnel-in: in UDP to port 41641 of this machine
  Optional.
  Peers behind hard NATs can reach this machine directly. It
  may be enough on one of the two machines of a pair.
  Without it: Pairs with a hard NAT on both sides stay on a
  relay.
  How that looks: `ginnel status` keeps showing relay "..."
  for some peers, also under traffic.

These destinations are to be refreshed by 2026-01-31 at the
latest.
Warning: Pinned destinations break the mesh some day: relays
  are added, moved and removed without notice, and one that
  is missing from the list cuts off apparently random pairs
  of machines. Allow TCP *:443, UDP *:3478 and UDP to *:* if
  you can; else keep the list in sync by a program (`ginnel
  firewall sync`), not by hand.
"""
