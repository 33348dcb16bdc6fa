"""What a path wants, as the mesh has it done."""

from __future__ import annotations

import pytest
from msgspec import structs

from ginnel.core.node import actions as act
from ginnel.words import Instant
from tests.core.node.test_mesh import BOB, BOB_AT, T0, Member, alice, answered, made_direct, udp


def silence(member: Member, seconds: int) -> list[act.Action]:
    """Alice goes on sending; Bob answers her pings, and nothing else comes."""
    done: list[act.Action] = []
    for half in range(2 * seconds):
        now = Instant(T0 + 0.1 + half / 2)
        actions = [*member.mesh.sent(BOB.key.public(), now), *member.mesh.tick(now)]
        done += actions
        for ping in [sent for sent in udp(actions) if sent.to == BOB_AT]:
            done += member.mesh.disco_received(BOB_AT, answered(ping), Instant(now + 0.03))
    return done


@pytest.mark.parametrize(
    ("theirs", "question"),
    [
        (["100.64.0.2/32", "fd7a::2/128"], ("100.64.0.1", "100.64.0.2")),
        (["fd7a::2/128", "100.64.0.2/32"], ("100.64.0.1", "100.64.0.2")),
        (["fd7a::2/128"], None),
        ([], None),
    ],
)
def test_a_question_inside_the_tunnel_is_put_between_addresses_of_one_family(
    theirs: list[str], question: tuple[str, str] | None
) -> None:
    member = alice(structs.replace(BOB.node(endpoints=[str(BOB_AT)]), addresses=theirs))
    made_direct(member)
    asked = [(a.source, a.to) for a in silence(member, 14) if isinstance(a, act.AskInside)]
    assert asked == ([question] * 3 if question else [])
