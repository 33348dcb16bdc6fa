import pytest

from ginnel.core.doctor.causes import Cause
from ginnel.lab import LabError
from ginnel.lab.diagnosis.catalogue import FAULTS, TABLES, faults_named

WRONG = [fault for fault in FAULTS.values() if not fault.healthy]
HEALTHY = [fault for fault in FAULTS.values() if fault.healthy]


def test_there_are_enough_faults_and_healthy_networks_for_a_figure():
    assert len(WRONG) >= 36
    assert len(HEALTHY) >= 10
    assert len(FAULTS) == sum(len(table.FAULTS) for table in TABLES), "two faults have one name"


@pytest.mark.parametrize("fault", WRONG, ids=lambda fault: fault.name)
def test_a_fault_is_asked_about_in_the_doctors_own_words(fault):
    assert fault.views
    for view in fault.views:
        assert {view.cause, *view.also} <= set(Cause)


@pytest.mark.parametrize("fault", HEALTHY, ids=lambda fault: fault.name)
def test_a_healthy_network_has_nothing_to_find(fault):
    assert fault.views
    assert not any(view.cause for view in fault.views)


def test_a_group_stands_for_all_its_faults():
    found = faults_named(("tls", "hard-hard"))
    assert {fault.group for fault in found} == {"tls", "nat"}
    assert [fault.name for fault in found].count("hard-hard") == 1


def test_an_unknown_name_is_told_with_what_there_is():
    with pytest.raises(LabError, match="no such fault: measles; there are https-blocked, "):
        faults_named(("measles",))
