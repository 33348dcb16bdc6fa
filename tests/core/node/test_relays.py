from __future__ import annotations

from random import Random

import msgspec

from ginnel.core.node.actions import Action, RelayClose, RelayMove, RelayOpen, RelayPrefer, Resolve
from ginnel.core.node.constants import DERP_BACKOFF_MAX
from ginnel.core.node.names import Names
from ginnel.core.node.relays import FAILURES_UNTIL_AVOIDED, MOVES_MAX, Relays
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import Instant, RegionId
from tests.core.node.ticks import ticks

T0 = Instant(1000.0)
HOME, AWAY = RegionId(1), RegionId(2)
PIN = "sha256-raw:" + 64 * "a"


def derp_map(away_port: int = 443) -> DERPMap:
    return DERPMap(
        regions={
            1: DERPRegion(
                1,
                "a",
                "A",
                nodes=[
                    DERPNode("1s", 1, "s.example", ipv4="203.0.113.9", ipv6="none", stun_only=True),
                    DERPNode("1a", 1, "a.example", ipv4="203.0.113.1", ipv6="2001:db8::1", cert_name=PIN),
                    DERPNode("1b", 1, "b.example", ipv4="203.0.113.2", ipv6="none"),
                ],
            ),
            2: DERPRegion(
                2,
                "b",
                "B",
                nodes=[DERPNode("2a", 2, "c.example", ipv4="203.0.113.3", ipv6="none", derp_port=away_port)],
            ),
        }
    )


def relays() -> Relays:
    made = Relays(Names(), Random(1).randbytes)
    made.map_changed(derp_map(), T0)
    made.key_set(T0)
    return made


def at_home() -> Relays:
    made = relays()
    made.set_home(HOME, T0)
    made.went_up(HOME)
    return made


def opened(actions: list[Action]) -> list[str]:
    return [action.server_name for action in actions if isinstance(action, RelayOpen)]


def run(made: Relays, until: float) -> list[Action]:
    return [action for _, done in ticks(made, until) for action in done]


def test_home_is_dialed_and_told_with_addresses_and_pin() -> None:
    actions = relays().set_home(HOME, T0)
    assert actions[0] == RelayPrefer(HOME)
    assert isinstance(actions[1], RelayOpen)
    assert [str(address) for address in actions[1].addresses] == ["203.0.113.1:443", "[2001:db8::1]:443"]
    assert actions[1].verify == PIN


def test_nothing_is_dialed_before_there_is_a_key_or_for_a_region_not_in_the_map() -> None:
    made = Relays(Names(), Random(1).randbytes)
    made.map_changed(derp_map(), T0)
    assert opened(made.set_home(HOME, T0)) == []
    assert opened(made.key_set(T0)) == ["a.example"]
    assert made.wanted(RegionId(99), T0) == []


def test_a_wanted_region_is_dialed_once() -> None:
    made = at_home()
    assert opened(made.wanted(AWAY, T0)) == ["c.example"]
    assert made.wanted(AWAY, Instant(T0 + 1)) == []


def test_a_region_is_closed_a_minute_after_the_last_write_and_home_never() -> None:
    made = at_home()
    made.wanted(AWAY, T0)
    made.went_up(AWAY)
    made.wrote(AWAY, Instant(T0 + 30))
    assert run(made, T0 + 89) == []
    assert run(made, T0 + 106) == [RelayClose(AWAY)]
    assert made.next_timeout() is None
    assert made.connected() == (HOME,)


def test_home_comes_back_by_itself_by_the_other_node_after_ever_longer_pauses() -> None:
    made = relays()
    made.set_home(HOME, T0)
    names: list[str] = []
    pauses: list[float] = []
    now = T0
    for _ in range(8):
        made.went_down(HOME, "refused", now)
        at = made.next_timeout()
        assert at is not None
        pauses.append(at - now)
        now = at
        names += opened(made.tick(now))
    assert names[:3] == ["b.example", "a.example", "b.example"]
    assert max(pauses) <= DERP_BACKOFF_MAX
    assert pauses[0] < 1.0 < pauses[-1]


def test_a_connection_that_stood_is_dialed_again_soon() -> None:
    made = at_home()
    made.went_down(HOME, "reset", T0)
    assert opened(run(made, T0 + 0.5)) == ["a.example"]


def test_after_a_relay_that_fell_silent_comes_the_other_node() -> None:
    made = at_home()
    made.went_down(HOME, "it does not answer any more", T0, silent=True)
    assert opened(run(made, T0 + 0.5)) == ["b.example"]


def test_a_region_that_nothing_goes_to_is_not_dialed_again() -> None:
    made = at_home()
    made.wanted(AWAY, T0)
    made.went_up(AWAY)
    made.went_down(AWAY, "reset", Instant(T0 + 70))
    assert opened(run(made, T0 + 200)) == []


def test_a_region_that_fails_and_fails_is_named() -> None:
    made = relays()
    made.set_home(HOME, T0)
    for n in range(FAILURES_UNTIL_AVOIDED):
        assert made.failing() == frozenset()
        made.went_down(HOME, "refused", Instant(T0 + n))
        made.tick(Instant(T0 + n + 0.9))
    assert made.failing() == {HOME}
    made.went_up(HOME)
    assert made.failing() == frozenset()


def test_only_regions_that_changed_are_dialed_anew_and_carry_on_meanwhile() -> None:
    made = at_home()
    made.wanted(AWAY, T0)
    made.went_up(AWAY)
    assert moved(made.map_changed(derp_map(away_port=8443), T0)) == ["c.example"]
    assert made.connected() == (HOME, AWAY)


def test_a_region_that_is_not_connected_yet_is_dialed_anew_when_its_relay_changed() -> None:
    made = at_home()
    made.wanted(AWAY, T0)
    actions = made.map_changed(derp_map(away_port=8443), T0)
    assert actions[0] == RelayClose(AWAY)
    assert opened(actions) == ["c.example"]


def test_a_home_that_leaves_the_map_is_no_home() -> None:
    made = at_home()
    actions = made.map_changed(DERPMap(regions={2: (derp_map().regions or {})[2]}), T0)
    assert RelayClose(HOME) in actions
    assert RelayPrefer(RegionId(0)) in actions


def test_a_relay_known_by_name_is_looked_up_first() -> None:
    made = Relays(names := Names(), Random(1).randbytes)
    made.map_changed(DERPMap(regions={1: DERPRegion(1, "a", "A", nodes=[DERPNode("1a", 1, "a.example")])}), T0)
    made.key_set(T0)
    actions = made.set_home(HOME, T0)
    assert actions == [RelayPrefer(HOME), Resolve("a.example")]
    names.resolved("a.example", [], T0)
    assert made.resolved(T0) == []
    from ipaddress import ip_address

    names.resolved("a.example", [ip_address("203.0.113.1")], T0)
    assert opened(made.resolved(T0)) == ["a.example"]


def test_every_connection_is_made_anew_at_once_when_the_network_is_another_one() -> None:
    """One that stands, one that is being dialed, and one that waits after failures."""
    made = at_home()
    made.wanted(AWAY, T0)
    actions = made.links_moved(Instant(T0 + 1))
    assert [type(action) for action in actions] == [RelayClose, RelayOpen, RelayClose, RelayOpen]
    assert (made.up(HOME), made.last_up(HOME, Instant(T0 + 2))) == (False, T0 + 1)
    for _ in range(6):
        made.went_down(HOME, "refused", Instant(T0 + 2))
    assert opened(made.links_moved(Instant(T0 + 3))) == ["a.example", "c.example"]
    made.went_up(HOME)
    assert made.up(HOME)


# --- a relay that says it goes away -----------------------------------------------------------------------------------


def moved(actions: list[Action]) -> list[str]:
    return [action.server_name for action in actions if isinstance(action, RelayMove)]


def test_a_relay_that_restarts_is_left_for_the_region_s_other_node_within_the_time_it_says() -> None:
    made = at_home()
    made.restarting(HOME, 8.0, T0)
    due = made.next_timeout()
    assert due is not None
    assert T0 + 4.0 <= due <= T0 + 8.0
    assert moved(made.tick(due)) == ["b.example"]
    assert made.up(HOME)  # the old connection carries on
    made.went_up(HOME)
    assert made.next_timeout() is None


def test_many_clients_of_a_relay_that_restarts_at_once_do_not_come_back_at_once() -> None:
    times = set()
    for seed in range(50):
        made = Relays(Names(), Random(seed).randbytes)
        made.map_changed(derp_map(), T0)
        made.key_set(T0)
        made.set_home(HOME, T0)
        made.went_up(HOME)
        made.restarting(HOME, 0.0, T0)
        times.add(made.next_timeout())
    assert len(times) > 25


def test_a_region_of_one_relay_is_dialed_there_again() -> None:
    made = at_home()
    made.wanted(AWAY, T0)
    made.went_up(AWAY)
    made.restarting(AWAY, 1.0, T0)
    assert moved(run(made, T0 + 1.0)) == ["c.example"]


def test_a_relay_that_is_gone_before_the_time_it_said_is_waited_for_but_not_longer_than_usual() -> None:
    made = at_home()
    made.restarting(HOME, 60.0, T0)
    made.went_down(HOME, "closed", T0)
    assert made.next_timeout() == T0 + DERP_BACKOFF_MAX
    assert opened(made.tick(Instant(T0 + DERP_BACKOFF_MAX))) == ["b.example"]


def test_a_region_that_is_not_connected_cannot_restart() -> None:
    made = relays()
    made.set_home(HOME, T0)
    before = made.next_timeout()
    made.restarting(HOME, 1.0, T0)
    assert made.next_timeout() == before


def test_a_move_that_fails_is_known_as_such_and_made_again_to_the_next_node() -> None:
    made = at_home()
    made.restarting(HOME, 1.0, T0)
    assert moved(run(made, T0 + 1.0)) == ["b.example"]
    assert made.stayed(HOME, Instant(T0 + 2)) == []
    assert made.up(HOME)
    assert made.next_timeout() is not None
    assert moved(run(made, T0 + 3)) == ["a.example"]
    made.went_up(HOME)
    assert made.next_timeout() is None


def test_a_node_that_a_move_failed_to_reach_is_not_believed_to_be_in_use() -> None:
    made = at_home()
    sts, _, second = (derp_map().regions or {})[1].nodes  # type: ignore[union-attr, misc]
    made.restarting(HOME, 1.0, T0)
    run(made, T0 + 1.0)
    made.stayed(HOME, Instant(T0 + 2))
    actions = made.map_changed(changed(nodes=[second, sts]), Instant(T0 + 2))  # the relay in use is gone
    assert moved(actions) == ["b.example"]


def test_moves_that_fail_again_and_again_end_and_the_connection_stays() -> None:
    made = at_home()
    made.restarting(HOME, 1.0, T0)
    tries = 0
    for at, done in ticks(made, T0 + 60.0):
        tries += len(moved(done))
        made.stayed(HOME, at)
    assert tries == MOVES_MAX
    assert made.next_timeout() is None
    assert made.up(HOME)


def test_a_relay_that_the_map_dropped_is_left_even_when_the_move_fails() -> None:
    made = at_home()
    _, _, second = (derp_map().regions or {})[1].nodes  # type: ignore[union-attr, misc]
    assert moved(made.map_changed(changed(nodes=[second]), T0)) == ["b.example"]
    actions = made.stayed(HOME, Instant(T0 + 1))
    assert actions[0] == RelayClose(HOME)
    assert opened(actions) == ["b.example"]


def test_a_word_of_restarting_while_a_move_is_under_way_starts_no_other() -> None:
    made = at_home()
    _, first, second = (derp_map().regions or {})[1].nodes  # type: ignore[union-attr, misc]
    made.map_changed(changed(nodes=[second, first]), T0)
    made.restarting(HOME, 1.0, T0)
    assert made.next_timeout() is None


def changed(**members: object) -> DERPMap:
    """Home with other members, or with its nodes in another order."""
    regions = dict(derp_map().regions or {})
    home = regions[1]
    assert home is not None
    regions[1] = msgspec.structs.replace(home, **members)
    return DERPMap(regions=regions)


def test_a_connection_stays_while_its_relay_is_the_same_and_no_further_down_the_list() -> None:
    made = at_home()
    sts, first, second = (derp_map().regions or {})[1].nodes  # type: ignore[union-attr, misc]
    third = DERPNode("1c", 1, "d.example", ipv4="203.0.113.4", ipv6="none")
    assert made.map_changed(changed(no_measure_no_home=True, region_name="Other"), T0) == []
    assert made.map_changed(changed(nodes=[first, second, third]), T0) == []
    assert made.up(HOME)
    assert moved(made.map_changed(changed(nodes=[second, first, sts]), T0)) == ["b.example"]
    assert made.map_changed(changed(nodes=[second, first, sts]), T0) == []
    made.went_up(HOME)
    repinned = msgspec.structs.replace(second, cert_name="sha256-raw:" + 64 * "b")
    assert moved(made.map_changed(changed(nodes=[repinned, first]), T0)) == ["b.example"]


def test_a_region_that_leaves_the_map_before_it_was_dialed_is_forgotten() -> None:
    made = Relays(Names(), Random(1).randbytes)
    made.map_changed(DERPMap(regions={1: DERPRegion(1, "a", "A", nodes=[DERPNode("1a", 1, "a.example")])}), T0)
    made.key_set(T0)
    made.set_home(HOME, T0)
    made.map_changed(DERPMap(regions={}), T0)
    assert made.next_timeout() is None
