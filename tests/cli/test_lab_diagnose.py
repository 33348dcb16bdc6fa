import json

import pytest
from click.testing import CliRunner

from ginnel.cli.lab import lab
from ginnel.lab import instance
from ginnel.lab.diagnosis import run
from ginnel.lab.diagnosis.report import Case, Diagnosis

GOOD = Diagnosis("alice", "", "udp-blocked", (), False, ["udp-blocked"], "degraded", True, True, True, True, 1.0)
NETS = {"alice": "easy"}


@pytest.fixture
def found(monkeypatch):
    """What examinations come to, instead of networks; the arguments of each."""
    asked = []
    cases = [Case("udp-blocked", "ports", "about", False, NETS, True, "seen", 1.0, [GOOD])]

    def examine(faults, seed, tell, **options):
        asked.append(([fault.name for fault in faults], seed, options))
        tell("a row")
        return cases

    monkeypatch.setattr(run, "examine", examine)
    monkeypatch.setattr(instance, "can_stand", lambda: None)
    monkeypatch.setattr("ginnel.cli.lab.end_with_blocks", lambda: None)
    return asked, cases


def ask(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(lab, ["diagnose", *words])
    return done.exit_code, done.stdout, done.stderr


def test_faults_are_listed_without_a_network():
    status, out, _ = ask("--list", "tls")
    assert status == 0
    assert [line.split()[:2] for line in out.splitlines()] == [["tls", "tls-interception"], ["tls", "tls-block-page"]]


def test_programs_get_the_list_as_json():
    status, out, _ = ask("--list", "--json", "tls-interception", "healthy-hard-alone")
    assert status == 0
    told = {fault["name"]: (fault["group"], fault["asked"]) for fault in json.loads(out)}
    assert told == {
        "tls-interception": ("tls", {"alice: doctor": "tls-interception"}),
        "healthy-hard-alone": ("healthy", {"alice: doctor": "healthy", "bob: doctor": "healthy"}),
    }


def test_a_table_that_cannot_be_written_is_told_before_the_work(found, tmp_path):
    status, out, err = ask("udp-blocked", "--table", str(tmp_path / "gone" / "page.md"))
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "No such file or directory" in err
    assert found[0] == []


def test_rows_come_as_they_are_done_and_figures_at_the_end(found):
    status, out, err = ask("udp-blocked", "--seed", "7", "--jobs", "3")
    assert (status, err) == (0, "a row\n")
    assert "right in 1 of 1 (100 %)" in out
    (asked,) = found[0]
    assert asked == (["udp-blocked"], 7, {"jobs": 3, "logs": None, "doctor": True})


def test_programs_get_json_and_people_a_page(found, tmp_path):
    page = tmp_path / "page.md"
    status, out, _ = ask("udp-blocked", "--json", "--table", str(page))
    assert status == 0
    told = json.loads(out)
    assert (told["seed"], told["totals"]["top1"], told["cases"][0]["diagnoses"][0]["said"]) == (1, 1, ["udp-blocked"])
    assert (
        "| udp-blocked | about | alice easy | alice: `doctor` | udp-blocked | udp-blocked | - | right |"
        in page.read_text()
    )


def test_a_doctor_who_is_wrong_too_often_fails_the_command(found):
    found[1].append(Case("h", "healthy", "about", True, NETS, True, "seen", 1.0, []))
    assert ask("udp-blocked")[0] == 0
    found[1].append(Case("b", "ports", "about", False, NETS, False, "not in force", 1.0, []))
    assert ask("udp-blocked")[0] == 1


def test_faults_can_be_proved_without_a_doctor(found):
    status, out, _ = ask("udp-blocked", "--prove")
    assert (status, out) == (0, "1 of 1 are in force\n")
    assert found[0][0][2]["doctor"] is False


def test_an_unknown_fault_is_one_line():
    status, out, err = ask("measles")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "no such fault: measles" in err
