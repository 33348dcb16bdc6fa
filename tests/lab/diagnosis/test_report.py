from msgspec.structs import replace

from ginnel.lab.diagnosis.report import Case, Diagnosis, accuracy, totals
from ginnel.lab.diagnosis.table import page, summary

RIGHT = Diagnosis(
    "alice", "", "udp-blocked", (), False, ["udp-blocked", "no-tun"], "degraded", True, True, True, True, 1.0
)
THIRD = replace(RIGHT, said=["no-tun", "dns-lies", "udp-blocked"], top1=False)
HEALTHY_CALLED = replace(RIGHT, said=[], verdict="healthy", top1=False, top3=False, right_verdict=False)
FINE = replace(RIGHT, expected="", said=[], verdict="healthy", peer="bob")
ALARM = replace(FINE, said=["no|tun"], verdict="broken", top1=False, top3=False, right_verdict=False)
NETS = {"bob": "easy", "alice": "none"}


def case(name: str, *diagnoses: Diagnosis, healthy: bool = False) -> Case:
    return Case(name, "healthy" if healthy else "nat", "about", healthy, NETS, True, "seen", 1.0, list(diagnoses))


ALL = [
    case("a", RIGHT, THIRD),
    case("b", HEALTHY_CALLED),
    case("h", FINE, healthy=True),
    case("w", ALARM, healthy=True),
]


def test_faults_and_healthy_networks_are_counted_apart():
    found = totals(ALL)
    assert (found.faults, found.healthy, found.diagnoses, found.healthy_diagnoses) == (2, 2, 3, 2)
    assert (found.top1, found.top3, found.named) == (1, 2, 1)
    assert found.false_healthy == ["b (alice: doctor)"]
    assert found.false_alarms == ["w (alice: doctor bob)"]


def test_what_harms_nobody_is_a_false_alarm_when_it_is_called_faulty():
    harmless = replace(RIGHT, informational=True, right_verdict=False)
    found = totals([case("port80", harmless)])
    assert (found.false_alarms, found.false_healthy) == (["port80 (alice: doctor)"], [])
    assert not found.good


def test_it_is_good_only_without_a_fault_called_healthy_a_false_alarm_or_a_fault_that_was_not_there():
    assert totals([case("a", RIGHT), case("h", FINE, healthy=True)]).good
    assert not totals(ALL).good
    assert not totals([case("a", RIGHT), case("w", ALARM, healthy=True)]).good
    assert not totals([case("a", *[RIGHT] * 20), case("b", HEALTHY_CALLED)]).good
    assert not totals([case("a", RIGHT), replace(case("b"), proved=False)]).good
    assert not totals([case("a", RIGHT), replace(case("b"), error="no room")]).good


def test_a_doctor_that_crashed_is_named_and_never_good():
    crashed = replace(RIGHT, said=[], verdict="", top1=False, top3=False, right_verdict=False, error="Traceback")
    found = totals([case("a", *[RIGHT] * 99), case("c", crashed)])
    assert found.silent == ["c (alice: doctor)"]
    assert totals([case("h", crashed, healthy=True)]).silent == ["h (alice: doctor)"]
    assert not found.good
    assert "- the doctor gave no answer: c (alice: doctor)" in summary(found)


def test_ways_out_are_counted_where_they_are_judged():
    found = totals([case("a", RIGHT, replace(RIGHT, mends=True), replace(RIGHT, mends=False))])
    assert (found.mending, found.mends) == (2, 1)
    lines = summary(found)
    assert any(line.startswith("- the way out, ") and line.endswith("right in 1 of 2 (50 %)") for line in lines)
    wrong = page(accuracy(7, [case("a", replace(RIGHT, mends=False))]))
    assert wrong.count("| right, another way out |") == 1


def test_it_is_good_with_nine_tenths_first_and_nearly_all_among_three():
    assert totals([case("a", *[RIGHT] * 90, *[THIRD] * 10)]).good
    assert not totals([case("a", *[RIGHT] * 89, *[THIRD] * 11)]).good
    missed = replace(THIRD, top3=False)
    assert totals([case("a", *[RIGHT] * 98, *[missed] * 2)]).good
    assert not totals([case("a", *[RIGHT] * 97, *[missed] * 3)]).good


def test_the_page_has_a_row_for_each_diagnosis_and_the_figures():
    lines = page(accuracy(7, ALL)).splitlines()
    assert "    ginnel lab diagnose --seed 7 --table docs/doctor-accuracy.md" in lines
    assert (
        "| a | about | alice none, bob easy | alice: `doctor` | udp-blocked | udp-blocked | no-tun | right |" in lines
    )
    assert any(line.startswith("| a | ") and line.endswith(" among three |") for line in lines)
    assert any(line.startswith("| b | ") and line.endswith(" **called healthy** |") for line in lines)
    assert (
        "| w | about | alice none, bob easy | alice: `doctor bob` | healthy | no\\|tun | - | **called broken** |"
        in lines
    )
    assert "right in 1 of 3 (33 %)" in summary(totals(ALL))[0]


def test_a_fault_that_was_not_in_force_is_told_and_not_counted():
    found = page(accuracy(7, [replace(case("a"), proved=False, proof="it is open"), case("c", RIGHT)]))
    assert "not judged: it is open" in found
    assert "the fault was not in force: a" in found
    assert "1 of 1 (100 %)" in found
