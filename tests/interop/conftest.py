"""Says aloud what was left out: a counterpart that is not there proves nothing."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [
        report for report in terminalreporter.stats.get("skipped", []) if "test_official_daemon" in report.nodeid
    ]
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.write_line(
            f"THE OFFICIAL DAEMON WAS NOT TRIED: {report.nodeid}: {reason.removeprefix('Skipped: ')}", red=True
        )
