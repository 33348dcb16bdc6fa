"""The simulator finds bugs of searches: a core that is broken in one way fails some of the first seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ginnel.core.node import mesh_parts, punch, punch_session
from ginnel.core.node.mesh import Mesh
from ginnel.core.node.punch import Puncher
from ginnel.core.node.punch_sockets import KeptSockets
from ginnel.testing.play import play
from ginnel.testing.watch import Broken

Mutant = Callable[[pytest.MonkeyPatch], None]


def never_searches(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Puncher, "look", lambda *_: [])


def never_ends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(punch_session, "SEARCH_LIMIT", 3600.0)


def searches_again_and_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(punch, "SEARCHES_IN", 0.0)
    patch.setattr(punch, "FIRST_PAUSE", dict.fromkeys(punch.FIRST_PAUSE, 0.5))
    patch.setattr(punch, "PAUSE_MAX", 0.5)


def keeps_no_pace(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(punch, "PACE", 200.0)


def releases_nothing_after_a_find(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KeptSockets, "release", lambda *_: [])


def releases_nothing_after_a_miss(patch: pytest.MonkeyPatch) -> None:
    def drop(puncher: Puncher, peer: object) -> list[object]:
        puncher._sessions.pop(peer, None)  # type: ignore[call-overload]
        return []

    patch.setattr(Puncher, "_drop", drop)


def closes_the_socket_in_use(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KeptSockets, "heard", lambda *_: None)
    patch.setattr(mesh_parts.MeshParts, "_socket_in_use", lambda *_: 0)


def keeps_an_idle_path(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("ginnel.core.node.path_core.SIDE_KEPT_IDLE", 1e6)


def guesses_against_policy(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("ginnel.core.node.mesh.probing_allowed", lambda _: True)


def guesses_by_a_modem(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mesh, "metered_changed", lambda *_: None)


def speaks_of_it_to_anybody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(punch, "is_ginnel", lambda _: True)


def sends_openers_all_the_way(patch: pytest.MonkeyPatch) -> None:
    """What a bare NAT is spoilt by."""
    patch.setattr(punch, "TTLS", (0,) * len(punch.TTLS))


def predicts_the_last_port(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("ginnel.core.node.punch_shots.predicted", lambda nat: [nat.outside.port])


def forgets_the_side_socket(patch: pytest.MonkeyPatch) -> None:
    """The path is steered to the tunnel's own socket."""
    patch.setattr("ginnel.core.node.path_core.PathCore.socket", property(lambda _: 0))


def waits_too_long(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(punch, "BEGINS_AFTER", 45.0)


MUTANTS = [
    (never_searches, 40),
    (never_ends, 200),
    (searches_again_and_again, 200),
    (keeps_no_pace, 40),
    (releases_nothing_after_a_find, 40),
    (releases_nothing_after_a_miss, 40),
    (closes_the_socket_in_use, 40),
    (keeps_an_idle_path, 100),
    (guesses_against_policy, 100),
    (guesses_by_a_modem, 100),
    (speaks_of_it_to_anybody, 100),
    (sends_openers_all_the_way, 300),
    (predicts_the_last_port, 40),
    (forgets_the_side_socket, 100),
    (waits_too_long, 40),
]


@pytest.mark.parametrize(("mutant", "seeds"), MUTANTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_core_that_searches_badly_is_caught(mutant: Mutant, seeds: int) -> None:
    seed = 0
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        with pytest.raises(Broken):
            for seed in range(seeds):
                play(seed)
    play(seed)  # the sound core passes the seed that the other failed
