"""`ginnel debug portmap`, against answers of the daemon."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from ginnel.cli import debug
from ginnel.core.node.portmap.text import lines, view
from ginnel.words import Instant
from tests.core.node.portmap.routers import PCP, Bench, Router, mapped


class Daemon:
    def __init__(self, bench: Bench) -> None:
        self.members = view(bench.mapper, Instant(bench.now))

    def post(self, name: str, *, timeout: float) -> dict[str, Any]:
        assert name == "debug-portmap"
        return {"Text": "\n".join(lines(self.members)), "Report": self.members}


def run(bench: Bench, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(debug, "local", lambda _: Daemon(bench))
    done = CliRunner().invoke(debug.debug, ["portmap", *arguments])
    return done.exit_code, done.output


def test_a_mapping_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = run(mapped(Router({PCP})), monkeypatch)
    assert code == 0
    assert "Mapping:  203.0.113.5:50000 -> 192.168.1.7:41641 by PCP\n" in said


def test_no_mapping_is_one_line_and_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = run(Bench(Router(set())).start().after(1), monkeypatch)
    assert code == 1
    assert said.count("\n") == 1
    assert "no port is mapped: the router speaks neither" in said


def test_json_tells_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = run(Bench(Router(set())).start().after(1), monkeypatch, "--json")
    assert code == 0
    assert json.loads(said)["PCP"] is False
    code, said = run(mapped(Router({PCP})), monkeypatch, "--json")
    assert json.loads(said)["External"] == "203.0.113.5:50000"
