"""What control hears of relay regions that cannot be reached from here."""

from ipaddress import IPv4Interface
from random import Random

from ginnel.core.node.actions import Action, MeasureHttps, ReportToControl, SendUdp
from ginnel.core.node.endpoints import LocalAddress
from ginnel.core.node.names import Names
from ginnel.core.node.reached_network import ReachedNetwork
from ginnel.core.node.relays import Relays
from tests.core.node.test_own_network import Member


class Reached(Member):
    """Regions in `silent` do not answer STUN, those in `closed` not HTTPS."""

    def __init__(self, *numbers: int, silent: tuple[int, ...] = (), closed: tuple[int, ...] = ()) -> None:
        super().__init__(*numbers)
        self.silent, self.closed = set(silent), set(closed)
        names = Names()
        self.relays = Relays(names, Random(2).randbytes)
        self.own = ReachedNetwork(self.relays, names, Random(1).randbytes)
        self.own.endpoints.interfaces_changed([LocalAddress("eth0", IPv4Interface("10.0.0.1/24"))])
        self.own.endpoints.port_bound(41641, 0, 41641)

    def answer(self, action: Action) -> None:
        if isinstance(action, SendUdp) and int(str(action.to.ip).split(".")[3]) in self.silent:
            return
        self.https = not (isinstance(action, MeasureHttps) and action.region in self.closed)
        super().answer(action)

    def run(self, seconds: float) -> None:
        """As the mesh does, which settles after each input."""
        until = self.now + seconds
        while self.step(until):
            self.take(self.own.settled(self.now))

    def word(self) -> list[int] | None:
        said = [action for action in self.sent if isinstance(action, ReportToControl)]
        return said[-1].net_info.ginnel_unreached


def test_a_silent_region_that_https_reaches_is_none_of_controls_business() -> None:
    member = Reached(1, 2, 3, silent=(3,))
    member.start()
    member.run(4)
    member.home_up()
    member.run(60)
    assert [a.region for a in member.done(MeasureHttps) if isinstance(a, MeasureHttps)] == [3]
    assert member.word() == []


def test_a_region_that_https_does_not_reach_is_told_and_taken_back() -> None:
    member = Reached(1, 2, 3, silent=(3,), closed=(3,))
    member.start()
    member.run(4)
    member.home_up()
    member.run(20)
    assert member.word() == [3]
    member.closed.clear()
    member.run(70)
    assert member.word() == []


def test_a_relay_that_is_dialed_in_vain_is_told_though_its_stun_answers() -> None:
    member = Reached(1, 2)
    member.start()
    member.run(4)
    member.home_up()
    other = next(n for n in (1, 2) if n != member.relays.home)
    member.relays.wanted(other, member.now)  # type: ignore[arg-type]
    for _ in range(3):
        member.relays.went_down(other, "refused", member.now)  # type: ignore[arg-type]
    member.take(member.own.settled(member.now))
    assert member.word() == [other]


def test_before_any_relay_is_reached_nothing_is_said() -> None:
    member = Reached(1, 2, 3, silent=(3,), closed=(1, 2, 3))
    member.start()
    member.run(120)
    assert member.word() == []
