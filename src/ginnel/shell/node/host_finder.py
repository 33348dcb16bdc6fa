"""Where a host is: by DNS; where that fails, at the addresses that it had last, or where relays say that it is.

Room: shell. Whom to ask and whom to believe is decided in core/node/bootstrap.py. Nobody is trusted for being found:
whoever is dialled proves by TLS or Noise that it is the host.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TypeVar

from ginnel.core.firewall.checked import literal
from ginnel.core.node.bootstrap import RELAYS_AT_ONCE, BootstrapRelay, BootstrapRelays, believed
from ginnel.shell.node.ask_relay import ask_relay
from ginnel.shell.node.dial import DialError, is_untrusted
from ginnel.shell.node.host_memory import HostMemory
from ginnel.shell.probe.names import NameLooker
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import IpAddress

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds for DNS."""
SHORT_PATIENCE = 3.0
"""The same where there is another way (tailscale: net/dnscache/dnscache.go)."""
LOOK_AGAIN = 60.0
"""Seconds between two looks whether DNS is back."""

T = TypeVar("T")
Dial = Callable[[Sequence[str]], Awaitable[T]]
LookUp = Callable[[str], Awaitable["Seen"]]
AskRelay = Callable[[BootstrapRelay, str], Awaitable[tuple[IpAddress, ...]]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What DNS says; without addresses, why."""

    addresses: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why DNS does not lead to a host, and `how` it was reached, "" for a relay. `lied`: DNS gave an address where
    somebody else answers."""

    why: str
    how: str = ""
    lied: bool = False


class HostFinder:
    """`changed` is called when `problems` are others. `look_up` and `ask`: instead of DNS and the relays."""

    def __init__(
        self,
        memory: HostMemory | None = None,
        *,
        mark: int = 0,
        look_up: LookUp | None = None,
        ask: AskRelay | None = None,
    ) -> None:
        self.memory = memory or HostMemory()
        self.changed: Callable[[], None] = lambda: None
        self._relays = BootstrapRelays(random.shuffle)
        self._look = look_up or _System().look_up
        self._ask: AskRelay = ask or (lambda relay, name: ask_relay(relay, name, mark=mark))
        self._troubles: dict[str, Trouble] = {}
        self._troubled = asyncio.Event()

    def serve(self, control_url: str) -> None:
        """From now on for this server and its mesh."""
        if self.memory.serve(control_url):
            self.rest()
        self._relays.map_changed(self.memory.derp_map, self.memory.relays())

    def rest(self) -> None:
        """No host is looked for any more, so nothing ails."""
        self._troubles.clear()
        self._troubled.clear()

    def map_changed(self, derp_map: DERPMap | None) -> None:
        self.memory.map_changed(derp_map)
        self._relays.map_changed(derp_map, self.memory.relays())
        for host in [host for host, trouble in self._troubles.items() if not trouble.how]:
            if not self.memory.relay(host):  # it left the map
                self._well(host)

    @property
    def problems(self) -> list[str]:
        """Lines for people; one for all relays."""
        lines = [_line(host, trouble.why, trouble.how) for host, trouble in self._troubles.items() if trouble.how]
        relays = [(host, trouble.why) for host, trouble in self._troubles.items() if not trouble.how]
        if relays:
            (host, why), others = relays[0], len(relays) - 1
            more = f" and {others} other relay{'s' if others > 1 else ''}" if others else ""
            lines.append(_line(host + more, why, "last known addresses are used"))
        return lines

    # --- names of relays -----------------------------------------------------------------------------------------

    async def resolve(self, host: str) -> list[str]:
        """The addresses of a relay that the map gives none for; none where nobody ever knew."""
        seen = await self._by_dns(host, other_way=bool(self.memory.relay(host)))
        if seen.addresses:
            self._well(host)
            self.memory.found_relay(host, seen.addresses)
            return list(seen.addresses)
        kept = self.memory.relay(host)
        if kept:
            self._note(host, Trouble(seen.why))
        return list(kept)

    # --- the server and the log host -----------------------------------------------------------------------------

    async def reach(
        self, host: str, dial: Dial[T], failures: tuple[type[Exception], ...], *, ask_relays: bool = True
    ) -> T:
        """What `dial` makes of the first addresses where the host is; none: those of its name. `failures`: what `dial`
        raises where it is not. Raises DialError when no address is known, else one of these."""
        if literal(host) is not None or host == "localhost":
            return await dial(())
        other_way = bool(self.memory.host(host) or (ask_relays and self._relays))
        seen = await self._by_dns(host, other_way=other_way)
        why, failure = seen.why, _unresolved(host, other_way=other_way)
        if seen.addresses:
            try:
                reached = await dial(seen.addresses)
            except failures as error:
                if not is_untrusted(error):
                    raise
                why, failure = str(error), error
            else:
                self._well(host)
                self.memory.reached(host, seen.addresses)
                return reached
        others = self._other_ways(host, frozenset(seen.addresses), ask_relays=ask_relays)
        async with aclosing(others) as ways:
            async for addresses, how in ways:
                try:
                    reached = await dial(addresses)
                except failures as error:
                    log.info("%s is not %s: %s", host, how, error)
                    continue
                self._note(host, Trouble(why, f"it was reached {how}", lied=bool(seen.addresses)))
                self.memory.reached(host, addresses)
                return reached
        raise failure

    async def _other_ways(
        self, host: str, tried: frozenset[str], *, ask_relays: bool
    ) -> AsyncGenerator[tuple[tuple[str, ...], str], None]:
        """Addresses of which not all have been tried, and whose they are."""
        known = self.memory.host(host)
        if not tried.issuperset(known):
            tried |= set(known)
            yield known, "at its last known address"
        drawn = self._relays.draw() if ask_relays else []
        for start in range(0, len(drawn), RELAYS_AT_ONCE):
            asked = [asyncio.create_task(self._answer(relay, host)) for relay in drawn[start : start + RELAYS_AT_ONCE]]
            try:
                for answering in asyncio.as_completed(asked):
                    addresses, how = await answering
                    if not tried.issuperset(addresses):
                        tried |= set(addresses)
                        yield addresses, how
            finally:
                for task in asked:
                    task.cancel()
                await asyncio.gather(*asked, return_exceptions=True)

    async def _answer(self, relay: BootstrapRelay, host: str) -> tuple[tuple[str, ...], str]:
        found = await self._ask(relay, host.lower())
        usable = believed(found, map(ip_address, self.memory.host(host)))
        if len(usable) < len(found):
            log.warning("relay %s says that %s has an address that is not public: it is not used", relay.name, host)
        return tuple(sorted(map(str, usable))), f"where relay {relay.name} ({relay.host}) says that it is"

    # --- DNS -----------------------------------------------------------------------------------------------------

    async def _by_dns(self, host: str, *, other_way: bool) -> Seen:
        patience = SHORT_PATIENCE if other_way else PATIENCE
        try:
            async with asyncio.timeout(patience):
                return await self._look(host)
        except TimeoutError:
            return Seen(why=f"no answer within {patience:.0f} s")

    async def watch(self) -> None:
        """Look now and then whether DNS is back, until cancelled: a connection that stands asks for no name."""
        while True:
            await self._troubled.wait()
            await asyncio.sleep(LOOK_AGAIN)
            await self.look_again()

    async def look_again(self) -> None:
        for host, trouble in list(self._troubles.items()):
            seen = await self._by_dns(host, other_way=True)
            if seen.addresses and not (trouble.lied and set(seen.addresses).isdisjoint(self.memory.host(host))):
                self._well(host)

    def _note(self, host: str, trouble: Trouble) -> None:
        if self._troubles.get(host) != trouble:
            log.warning("%s", _line(host, trouble.why, trouble.how or "its last known addresses are used"))
            self._troubles[host] = trouble
            self._troubled.set()
            self.changed()

    def _well(self, host: str) -> None:
        if self._troubles.pop(host, None) is not None:
            log.info("DNS is no trouble for %s any more", host)
            if not self._troubles:
                self._troubled.clear()
            self.changed()


def _line(host: str, why: str, how: str) -> str:
    return f"DNS does not lead to {host} ({why}): {how}; `ginnel doctor` tells more"


def _unresolved(host: str, *, other_way: bool) -> Exception:
    more = ", and neither its last known address nor a relay leads to it" if other_way else ""
    return DialError(f"the name {host} cannot be resolved{more}")


class _System:
    """The system's resolver."""

    def __init__(self) -> None:
        self._names = NameLooker(PATIENCE)

    async def look_up(self, host: str) -> Seen:
        found = await self._names.look(host)
        return Seen(tuple(map(str, found.addresses)), found.evidence.error or "no answer")
