"""The scenarios by name.

Room: lab.
"""

from __future__ import annotations

from ginnel.lab import LabError
from ginnel.lab.kinds import KINDS, SERVER
from ginnel.lab.report import Catalogue, Description, KindDescription, Path
from ginnel.lab.scenario import Blocked, Expect, Member, RelayEvent, Scenario

ALICE, BOB = "alice", "bob"


def two(name: str, about: str, kinds: tuple[str, str], path: Path, watch_relay: bool = False) -> Scenario:
    members = (Member(ALICE, kinds[0]), Member(BOB, kinds[1]))
    return Scenario(name, about, members, (Expect(ALICE, BOB, path),), watch_relay=watch_relay)


def by_relay(name: str, about: str, relays: tuple[str, ...], event: RelayEvent) -> Scenario:
    """Two who can talk by a relay alone, and relays of the fleet in a region that is their home."""
    members = (Member(ALICE, "udp-blocked"), Member(BOB, "udp-blocked"))
    return Scenario(name, about, members, (Expect(ALICE, BOB, "relay"),), relays=relays, relay_event=event)


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        two("flat", "two public addresses, no NAT", ("none", "none"), "direct"),
        two("easy-easy", "an ordinary home router on each side", ("easy", "easy"), "direct"),
        two(
            "hard-hard",
            "a random port for each destination on both sides",
            ("hard-random", "hard-random"),
            "relay",
            True,
        ),
        two("udp-blocked", "both routers drop all UDP", ("udp-blocked", "udp-blocked"), "relay", True),
        two(
            "one-open-port",
            "hard NATs on both sides, UDP 41641 opened on one, a single relay",
            ("hard-random+open-port", "hard-random"),
            "direct",
        ),
        Scenario(
            "easy-easy-20ms",
            "an ordinary home router on each side, 20 ms one way from each to the internet",
            (Member(ALICE, "easy"), Member(BOB, "easy")),
            (Expect(ALICE, BOB, "direct"),),
            one_way=0.020,
        ),
        by_relay("relay-killed", "the first of a region's two relays is killed", ("relay1", "relay2"), "killed"),
        by_relay(
            "relay-silent",
            "the machine of the first of a region's two relays vanishes, and nothing says so",
            ("relay1", "relay2"),
            "silent",
        ),
        by_relay("relay-stopped", "the first of a region's two relays is told to end", ("relay1", "relay2"), "stopped"),
        by_relay("region-lost", "the only relay of the home region is killed", ("relay1",), "lost"),
        by_relay(
            "relay-drained", "the home region is drained while a TCP stream goes through it", ("relay1",), "drained"
        ),
        Scenario(
            "official-client",
            "Tailscale's Go client behind one home router, our node behind another",
            (Member(ALICE, "easy"), Member("official", "easy", client="official")),
            (Expect(ALICE, "official", "direct"),),
            faults=(Blocked(ALICE, "official"),),
            restarts=True,
        ),
        Scenario(
            "official-daemon",
            "Tailscale's daemon and command line behind one home router, our node behind another",
            (Member(ALICE, "easy"), Member("official", "easy", client="official-daemon")),
            (Expect(ALICE, "official", "direct"),),
            faults=(Blocked(ALICE, "official"),),
            restarts=True,
        ),
    )
}


def scenario_named(name: str) -> Scenario:
    if name not in SCENARIOS:
        raise LabError(f"no such scenario: {name}; there are {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


def catalogue() -> Catalogue:
    scenarios = [
        Description(s.name, s.about, [SERVER, *(m.name for m in s.members)], [(p.a, p.b, p.path) for p in s.pairs])
        for s in SCENARIOS.values()
    ]
    return Catalogue(scenarios, [KindDescription(name, kind.about) for name, kind in KINDS.items()])
