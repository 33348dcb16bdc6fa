"""The simulator finds bugs: a core that is broken in one way fails some of the first seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from ginnel.core.node import actions as act
from ginnel.testing.node import SimNode
from ginnel.testing.play import play
from ginnel.testing.watch import PONG_SIZE, Broken
from ginnel.wire import disco, stun

Actions = Sequence[act.Action]
Mutant = Callable[[SimNode, Actions], Actions]
EVERYTHING = ("0.0.0.0/0", "::/0")
ALLOW_ALL = ((EVERYTHING, tuple((prefix, 0, 65535) for prefix in EVERYTHING), (17,)),)
STARTED = 1006.0


def is_disco(action: act.Action) -> bool:
    return isinstance(action, act.SendUdp | act.SendRelay) and disco.is_disco(action.packet)


def never_answers_pings(_: SimNode, actions: Actions) -> Actions:
    return [a for a in actions if not (is_disco(a) and len(a.packet) == PONG_SIZE)]  # type: ignore[union-attr]


def never_calls(_: SimNode, actions: Actions) -> Actions:
    return [a for a in actions if not isinstance(a, act.SendRelay)]


def trusts_for_ever(node: SimNode, actions: Actions) -> Actions:
    """A path that was direct once is never left."""
    kept: list[act.Action] = []
    for action in actions:
        if isinstance(action, act.Steer):
            endpoint, region = node.pump.steered(action.peer)
            if endpoint is not None and not region and (action.region or action.endpoint is None):
                continue
        kept.append(action)
    return kept


def forgets_to_ask_stun_again(node: SimNode, actions: Actions) -> Actions:
    asks = [a for a in actions if isinstance(a, act.SendUdp) and stun.is_stun(a.packet)]
    return [a for a in actions if a not in asks] if node.world.clock.now > STARTED else actions


def ignores_the_policy(_: SimNode, actions: Actions) -> Actions:
    return [act.SetFilter(ALLOW_ALL) if isinstance(a, act.SetFilter) else a for a in actions]


def storms(_: SimNode, actions: Actions) -> Actions:
    return [each for a in actions for each in [a] * (10 if is_disco(a) else 1)]


def sends_in_the_clear(_: SimNode, actions: Actions) -> Actions:
    return [replace(a, packet=a.packet[80:]) if isinstance(a, act.SendUdp) and is_disco(a) else a for a in actions]


def never_goes_direct(_: SimNode, actions: Actions) -> Actions:
    return [a for a in actions if not (isinstance(a, act.Steer) and a.endpoint is not None)]


def dials_each_relay_once(node: SimNode, actions: Actions) -> Actions:
    dialed: set[int] = node.__dict__.setdefault("dialed", set())
    kept = []
    for action in actions:
        if isinstance(action, act.RelayOpen):
            if action.region in dialed:
                continue
            dialed.add(action.region)
        kept.append(action)
    return kept


MUTANTS = [
    (never_answers_pings, 20),
    (never_calls, 300),
    (trusts_for_ever, 100),
    (forgets_to_ask_stun_again, 100),
    (ignores_the_policy, 20),
    (storms, 20),
    (sends_in_the_clear, 20),
    (never_goes_direct, 20),
    (dials_each_relay_once, 100),
]


@pytest.mark.parametrize(("mutant", "seeds"), MUTANTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_core_is_caught(mutant: Mutant, seeds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    perform = SimNode.perform
    monkeypatch.setattr(SimNode, "perform", lambda node, actions: perform(node, mutant(node, actions)))
    with pytest.raises(Broken):
        for seed in range(seeds):
            play(seed)
    monkeypatch.undo()  # and the sound core passes the seed that the other failed
    play(seed)
