import pytest

from ginnel.lab import LabError
from ginnel.lab.diagnosis import programs
from ginnel.lab.diagnosis.programs import off_by


def test_a_wrong_clock_leaves_timers_alone():
    assert off_by("-3y")["FAKETIME"] == "-3y"


def test_without_the_library_no_clock_is_wrong(monkeypatch):
    monkeypatch.setattr(programs, "FAKETIME", "nowhere/*.so")
    with pytest.raises(LabError, match="apt-get install faketime"):
        off_by("+3d")
