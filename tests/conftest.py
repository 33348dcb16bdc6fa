"""What all tests share: how hard the random ones try, and saying aloud what only root can run.

`make fuzz` raises the number of examples where a test does not set its own.
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ginnel.lab.namespace import CLONE_NEWNS, called, in_chroot, libc, settle_in_chroot

settings.register_profile("ci", deadline=None)  # the machines are shared: time is not what these tests measure
settings.register_profile(
    "fuzz", deadline=None, max_examples=20_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure() -> None:
    """Tests use `ip -n`, which in a chroot wants a / that is a mount."""
    if os.geteuid() == 0 and in_chroot():
        here = Path.cwd()
        called(libc.unshare(CLONE_NEWNS), "unshare")
        settle_in_chroot()
        os.chdir(here)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = len(terminalreporter.stats.get("skipped", ()))
    if os.geteuid() != 0 and skipped:
        line = f"NOT ROOT: {skipped} tests were skipped, mostly those that build networks. Repeat with sudo."
        terminalreporter.write_line(line, red=True)
