import asyncio
from ipaddress import ip_address

import pytest

from ginnel.core.firewall.allowlist import Answer
from ginnel.core.relaydns.hosts import V4, V6, Lookup
from ginnel.shell.firewall.lookup import AT_ONCE, answer_of, look_up

FOUR, SIX = (ip_address("192.0.2.1"),), (ip_address("2001:db8::1"),)


@pytest.mark.parametrize(
    ("v4", "v6", "addresses", "error"),
    [
        (FOUR, SIX, FOUR + SIX, ""),
        (FOUR, Lookup.NONE, FOUR, ""),
        (Lookup.NONE, SIX, SIX, ""),
        (FOUR, Lookup.FAILED, FOUR, "the lookup of AAAA records failed"),
        (Lookup.FAILED, Lookup.FAILED, (), "the lookup of A and AAAA records failed"),
        (Lookup.NONE, Lookup.NONE, (), "the name has no A and no AAAA records"),
    ],
)
def test_only_a_family_that_is_known_to_be_missing_is_no_error(v4: V4, v6: V6, addresses: tuple, error: str) -> None:
    answer = answer_of(v4, v6)
    assert answer.addresses == addresses
    assert answer.error.startswith(error)
    assert bool(answer.error) == bool(error)


async def test_every_name_has_an_answer_and_few_are_asked_for_at_once() -> None:
    asking, most = 0, 0

    async def ask(name: str) -> tuple[V4, V6]:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        await asyncio.sleep(0)
        asking -= 1
        return (FOUR, SIX) if name != "h7" else (Lookup.FAILED, Lookup.FAILED)

    names = [f"h{n}" for n in range(50)]
    answers = await look_up(names, ask)
    assert list(answers) == names
    assert most == AT_ONCE
    assert [name for name, answer in answers.items() if answer != Answer(FOUR + SIX)] == ["h7"]


async def test_names_for_which_there_is_no_time_left_are_errors_too() -> None:
    async def ask(name: str) -> tuple[V4, V6]:
        raise AssertionError(name)

    answers = await look_up(["a", "b"], ask, patience=0.0)
    assert [answer.error[:13] for answer in answers.values()] == ["not asked for", "not asked for"]
