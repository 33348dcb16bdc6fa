"""Asking DNS for a whole allowlist, a few names at a time.

Room: shell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from ginnel.core.firewall.allowlist import Answer
from ginnel.core.relaydns.hosts import V4, V6, Lookup
from ginnel.shell.relaydns.resolve import Resolver

AT_ONCE = 4
"""Two families each are what the resolver asks for at a time: nobody waits in its row, where the patience runs."""
PATIENCE = 300.0
"""For all names together: DNS that does not answer takes 15 s for each, and a map may name thousands."""
TOO_LATE = Answer(error="not asked for: DNS is too slow here for so many names")
LookUp = Callable[[str], Awaitable[tuple[V4, V6]]]


async def look_up(names: Iterable[str], ask: LookUp | None = None, *, patience: float = PATIENCE) -> dict[str, Answer]:
    """An answer or an error for each name."""
    one = ask or Resolver().look_up
    room = asyncio.Semaphore(AT_ONCE)
    end = asyncio.get_running_loop().time() + patience

    async def answer(name: str) -> tuple[str, Answer]:
        async with room:
            late = asyncio.get_running_loop().time() >= end
            return name, TOO_LATE if late else answer_of(*await one(name))

    return dict(await asyncio.gather(*map(answer, names)))


def answer_of(v4: V4, v6: V6) -> Answer:
    """A family that is not there while the other is, is no error; one that nobody could tell of is."""
    found = tuple(ip for family in (v4, v6) if not isinstance(family, Lookup) for ip in family)
    failed = [kind for kind, family in (("A", v4), ("AAAA", v6)) if family is Lookup.FAILED]
    if failed:
        return Answer(found, f"the lookup of {' and '.join(failed)} records failed: does DNS work here?")
    return Answer(found, "" if found else "the name has no A and no AAAA records")
