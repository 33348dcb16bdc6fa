"""Tailscale's own daemon and command line, built from the Go modules, against our server, our relay and our node.

`make interop` builds them; without them these tests are skipped. What is checked stands in `ginnel.lab.official`.
"""

import os
from pathlib import Path

import pytest

from ginnel.lab import LabError
from ginnel.lab.catalogue import scenario_named
from ginnel.lab.daemon import official
from ginnel.lab.judge import judge


def absent() -> str:
    if os.geteuid() != 0:
        return "needs root: network namespaces are made here"
    try:
        official("tailscaled"), official("tailscale")
    except LabError as error:
        return str(error)
    return ""


@pytest.mark.root
@pytest.mark.official_daemon
@pytest.mark.skipif(bool(absent()), reason=absent())
def test_the_official_daemon_joins_is_relayed_then_direct_and_complains_of_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    outcome = judge(scenario_named("official-daemon"), said.append, tmp_path)
    assert [check for check in outcome.checks if not check.passed] == []
    assert outcome.passed, "\n".join(said)


def test_what_is_absent_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCH_TAILSCALED", str(tmp_path / "tailscaled"))
    with pytest.raises(LabError, match=r"is not at .*tailscaled: build it with make interop, or set BENCH_TAILSCALED"):
        official("tailscaled")
