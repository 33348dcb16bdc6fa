"""25 relays that are far away: 150 ms there and back, by a wire that delays each packet."""

from collections.abc import Iterator

import pytest

from ginnel.core.firewall.report import Around, Report
from ginnel.core.firewall.tried import Asked
from ginnel.core.firewall.verdict import Blocking
from ginnel.lab.line import Impairment
from ginnel.shell.firewall.verify import verify
from tests.shell.firewall.test_walls import kinds, need, pytestmark
from tests.shell.firewall.walled import REGIONS, Walled, derp_map, v4, v6, walled

__all__ = ["pytestmark"]
ONE_WAY = 0.075  # seconds
SILENT = (3, 7, 11, 15, 19)
BOUND = 5.0


@pytest.fixture(scope="module")
def far() -> Iterator[Walled]:
    with walled(wire=Impairment(delay=ONE_WAY)) as standing:
        yield standing


@pytest.fixture(autouse=True)
def _open(far: Walled) -> Iterator[None]:
    yield
    far.open()


def tried(far: Walled) -> tuple[Report, list[tuple[int, int]]]:
    """With how many probes were done, of how many, as the progress display hears it."""
    shown: list[tuple[int, int]] = []
    asked = Asked(derp_map(REGIONS), source="a test", around=Around())
    return far.on_host(verify(asked, mark=0, told=lambda done, every: shown.append((done, every)))), shown


def test_a_healthy_host_is_done_within_5_seconds(far: Walled) -> None:
    report, shown = tried(far)
    assert report.passed
    assert min(check.seconds for check in need(report, "stun").reaches[0].checks) >= 2 * ONE_WAY, "the wire is long"
    assert report.seconds <= BOUND
    assert [done for done, _ in shown] == list(range(1, len(shown) + 1))
    assert shown[-1] == (len(shown), len(shown))
    assert len(shown) >= 6 * REGIONS  # DERP, STUN and port 80, by both families


def test_five_silent_regions_take_no_longer_than_one_silent_probe(far: Walled) -> None:
    four, six = (", ".join(of(number) for number in SILENT) for of in (v4, v6))
    far.block(f"ip daddr {{ {four} }} drop", f"ip6 daddr {{ {six} }} drop")
    report, _ = tried(far)
    assert [lost.region - 900 for lost in report.lost] == list(SILENT)
    assert kinds(report, "https") == {Blocking.SILENT_DROP}
    assert report.complete
    assert report.seconds <= BOUND
