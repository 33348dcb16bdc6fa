"""One examination within its time: the daemon is asked, this machine looked at, the peer pinged, others are witnesses.

Room: shell. What was not looked at in time is told as such; it never looks like health.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ginnel.core.doctor.diagnosis import Diagnosis, of_host, of_pair, of_stranger
from ginnel.core.doctor.evidence import Host, Pair, PingSeen
from ginnel.shell.doctor.asking import Ask, Daemon, Refused, Unanswered, running_for, wait_until
from ginnel.shell.doctor.gather import Known, gather_host, misses_somebody
from ginnel.shell.doctor.told import known_by_daemon, known_without_daemon, pair_of, testimony_in
from ginnel.wire.doctor import Testimony
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import Node, decode

log = logging.getLogger(__name__)

WHOLE = 7.6
"""Seconds from the program's start to its answer; its words take the rest of 8."""
KNOWN_TIME = 3.0  # of each question before all looks
PING_TIME = 4.0  # until a direct answer; the relay's comes at once
PING_GAP = 0.4
PAIR_TIME = 2.8  # for both ends' word behind the pings: the peer is asked by two ways, each has 1.5 s
NETCHECK_TIME = 5.8
WITNESSES, WITNESS_TIME, WITNESS_LEAST = 3, 2.0, 1.2
LEAST = 0.3  # of all looks, where the daemon took the time
LAST_WORD = 0.5  # for the daemon's own word when all is over
NO_NET_CHECK = "UDP by the daemon's own socket: its net check did not end in time"
NO_LAST_WORD = "what the daemon found meanwhile: it did not say so in time"
NO_PAIR = "what both ends know of the way: the daemon did not say so in time"

FindMachine = Callable[[dict[str, Any], str], dict[str, Any] | None]
"""A machine of the daemon's `status` by what the user calls it."""


class CannotLook(Exception):
    """One line for people: why there is no diagnosis at all."""


class Visit:
    """`tell` hears what is being done, for people who wait."""

    def __init__(self, ask: Ask, find: FindMachine, state: Path, tell: Callable[[str], None] = lambda _: None) -> None:
        self._daemon = Daemon(ask, time.monotonic() + WHOLE - running_for())
        self._find = find
        self._state = state
        self._tell = tell

    async def examine(self, peer: str | None) -> tuple[Diagnosis, Pair | None]:
        """Raises CannotLook."""
        try:
            known = await self._in_thread("the daemon", partial(known_by_daemon, partial(self._get, most=KNOWN_TIME)))
            if peer is None or known.daemon is None or known.daemon.state != "Running":
                return of_host(await self._host(known)), None
            machine = await self._in_thread("status", partial(self._machine, peer))
            if machine is None:
                return of_stranger(await self._host(known), peer, known.names), None
            pair = await self._pair(known, machine)
            return of_pair(pair), pair
        except (Unanswered, WireError) as error:
            return of_host(await self._without_daemon(str(error))), None
        except Refused as error:
            raise CannotLook(str(error)) from None

    def _get(self, name: str, most: float) -> Any:
        return self._daemon.get(name, most)

    async def _in_thread(self, what: str, work: Callable[[], Any]) -> Any:
        return await self._daemon.thread(what, work)

    # --- this machine ------------------------------------------------------------------------------------------

    async def _without_daemon(self, why: str) -> Host:
        known = await known_without_daemon(why, self._state)
        return await gather_host(known, self._tell, within=self._daemon.left())

    async def _host(self, known: Known) -> Host:
        """The daemon measures at the same time, so its word is asked for again when all is over."""
        measuring = asyncio.ensure_future(self._in_thread("net check", self._measure))
        within = max(LEAST, self._daemon.left() - LAST_WORD - WITNESS_LEAST)
        host = await gather_host(known, self._tell, within=within)
        witnesses = await self._witnesses(known, host) if misses_somebody(host) else ()
        in_time = await wait_until(measuring, self._daemon.left() - LAST_WORD) and measuring.result()
        told, unlooked = await self._last_word(known, () if in_time else (NO_NET_CHECK,))
        return replace(host, network=told, witnesses=witnesses, unlooked=(*host.unlooked, *unlooked))

    async def _last_word(self, known: Known, missed: tuple[str, ...]) -> tuple[Testimony | None, tuple[str, ...]]:
        try:
            told = await self._in_thread("last word", partial(self._get, "doctor", KNOWN_TIME))
            return testimony_in(told["Own"]), missed
        except (Unanswered, Refused, WireError, KeyError) as error:
            log.debug("the daemon's last word: %s", error)
            return known.network, (*missed, NO_LAST_WORD)

    async def _witnesses(self, known: Known, host: Host) -> tuple[Testimony, ...]:
        """Whether others reach what we don't."""
        self._tell("asking other machines of the mesh ...")
        missed = [relay.region for relay in host.relays if relay.https is not None and not relay.https.works]
        regions = ",".join(map(str, dict.fromkeys(missed)))
        seconds = min(WITNESS_TIME, self._daemon.left() - LAST_WORD)
        asked = (
            self._in_thread("witness", partial(self._ask_peer, address, regions, seconds))
            for address in known.online[:WITNESSES]
        )
        return tuple(told for told in await asyncio.gather(*asked) if told is not None)

    def _ask_peer(self, address: str, regions: str, seconds: float) -> Testimony | None:
        try:
            return testimony_in(self._get(f"doctor?peer={address}&region={regions}", seconds)["Theirs"])
        except (Unanswered, Refused, WireError, KeyError):
            return None

    def _measure(self) -> bool:
        """False: not in time. Without a map there is nothing to measure, and the daemon's last word serves."""
        try:
            self._daemon.ask("POST", "netcheck?full=true", min(NETCHECK_TIME, self._daemon.left() - LAST_WORD))
        except Unanswered:
            return False
        except Refused as error:
            log.debug("no net check: %s", error)
        return True

    # --- the pair ----------------------------------------------------------------------------------------------

    def _machine(self, peer: str) -> dict[str, Any] | None:
        """Of `status`, with the map's word on it."""
        status = self._get("status", KNOWN_TIME)
        machine = self._find(status, peer)
        if machine is status["Self"]:
            raise CannotLook(f"{peer!r} is this machine: `ginnel doctor` alone looks at it")
        if machine is None:
            return None
        address = str(machine["TailscaleIPs"][0])
        return machine | {"Node": self._get(f"whois?addr={address}", KNOWN_TIME)["Node"]}

    async def _pair(self, known: Known, machine: dict[str, Any]) -> Pair:
        address = str(machine["TailscaleIPs"][0])
        patience = PING_TIME if machine.get("Online") else PING_TIME / 2
        meeting = self._in_thread("pings", partial(self._meet, address, patience))
        host, (ping, told) = await asyncio.gather(self._host(known), meeting)
        node = decode(Node, json.dumps(machine["Node"]).encode())
        if told is None:
            host = replace(host, unlooked=(*host.unlooked, NO_PAIR))
        return pair_of(host, node, told, ping)

    def _meet(self, address: str, patience: float) -> tuple[PingSeen, dict[str, Any] | None]:
        """What pings come to, and then what both ends say of it."""
        ping = self._ping(address, min(patience, self._daemon.left() - PAIR_TIME))
        try:
            told: dict[str, Any] = self._get(f"doctor?peer={address}", KNOWN_TIME)
            return ping, told
        except (Unanswered, Refused) as error:
            log.debug("what both ends know: %s", error)
            return ping, None

    def _ping(self, address: str, patience: float) -> PingSeen:
        """Until an answer comes by a direct way, or the time is over; who is pinged is searched for."""
        seen = PingSeen()
        end = time.monotonic() + patience
        while (left := end - time.monotonic()) > 0 and not seen.direct:
            try:
                got = self._daemon.ask("POST", f"ping?ip={address}&type=disco", left)
            except Unanswered:
                break
            except Refused as error:
                return PingSeen(problem=str(error))
            if got["Err"]:
                return seen if seen.answered else PingSeen(problem=got["Err"])
            seen = PingSeen(True, got["Endpoint"], got["DERPRegionCode"])
            if not seen.direct:
                time.sleep(min(PING_GAP, left))
        return seen
