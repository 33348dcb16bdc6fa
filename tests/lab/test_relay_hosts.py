"""Relays of the fleet on machines of their own: killed, lost and drained under a pair that has no other way."""

import os

import pytest

from ginnel.lab.catalogue import scenario_named
from ginnel.lab.judge import judge

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root and network namespaces")]


@pytest.mark.parametrize("name", ["relay-killed", "relay-silent", "relay-stopped", "region-lost", "relay-drained"])
def test_a_pair_outlives_what_becomes_of_its_relay(name: str) -> None:
    outcome = judge(scenario_named(name), lambda _: None)
    assert outcome.passed, (outcome.checks, outcome.pairs)
