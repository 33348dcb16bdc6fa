"""The first routers of the way out, in networks that have them."""

from __future__ import annotations

import asyncio
import os
import random
from ipaddress import ip_address, ip_network

import pytest

from ginnel.lab.diagnosis.faults_pairs import carriers_hard
from ginnel.lab.instance import Lab
from ginnel.lab.topology import Topology
from ginnel.shell.doctor.hops import first_hops

CARRIER = ip_network("100.64.0.0/10")
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root and network namespaces")


def hops_of(topology: Topology, *lines: str) -> tuple[tuple[str, ...], str]:
    """Of alice's way to the internet, and her router's address. lines: what nft does in that router first."""
    with Lab(topology) as lab:
        if lines:
            lab.spaces["nat-alice"].run(["nft", "-f", "-"], "\n".join(lines))
        shown = lab.spaces["alice"].run(["ip", "-o", "-4", "route", "show", "default"]).split()
        address = lab.plan.observer[0]
        found = lab.spaces["alice"].call(lambda: asyncio.run(first_hops(address, mark=0)))
        return found, shown[shown.index("via") + 1]


@pytest.mark.root
@root
def test_a_carriers_router_stands_behind_our_own() -> None:
    (own, carrier, *_), router = hops_of(carriers_hard(random.Random(1)))
    assert own == router
    assert ip_address(carrier) in CARRIER


@pytest.mark.root
@root
def test_a_router_that_says_nothing_leaves_its_place_empty() -> None:
    silent = (
        "table ip quiet {",
        "chain out { type filter hook output priority 0;",
        "icmp type time-exceeded drop",
        "}",
        "}",
    )
    (own, carrier, *_), _ = hops_of(carriers_hard(random.Random(1)), *silent)
    assert own == ""
    assert ip_address(carrier) in CARRIER


async def test_a_host_that_answers_itself_is_no_hop() -> None:
    assert await first_hops("127.0.0.1", mark=0) == ()
