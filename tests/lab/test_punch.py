"""NATs that stayed relayed before, on the real kernel: each pair direct, payload whole."""

import os

import pytest

from ginnel.lab.catalogue import two
from ginnel.lab.judge import judge

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root and network namespaces")]


@pytest.mark.parametrize(
    "kinds",
    [("easy-bare", "easy-bare"), ("easy", "hard-random"), ("hard-sequential", "hard-sequential")],
    ids="-".join,
)
def test_two_of_our_nodes_become_direct(kinds: tuple[str, str]) -> None:
    outcome = judge(two("punch", "a pair that needs both ends to take part", kinds, "direct"), lambda _: None)
    assert outcome.passed, (outcome.checks, outcome.pairs)
