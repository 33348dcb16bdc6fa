"""`ginnel doctor`: why this machine, or the way to a peer, is not as it should be.

Room: cli. shell/doctor gathers, core/doctor judges; here it is asked for and printed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ginnel.cli.ginneld import DEFAULT_STATE
from ginnel.cli.local import ApiError, Local, fail, local, plain
from ginnel.cli.options import socket_option
from ginnel.cli.peers import known as known_machine

if TYPE_CHECKING:
    from ginnel.core.doctor.diagnosis import Diagnosis
    from ginnel.core.doctor.evidence import Host, Pair, PingSeen
    from ginnel.shell.doctor.gather import Known
    from ginnel.wire.doctor import Testimony

PING_TIME = 4.0  # until a direct answer; the relay's comes at once
PING_GAP = 0.4
NETCHECK_TIME = 5.8
ASK_TIME = 4.0
WITNESSES, WITNESS_TIME = 3, 2.0


@click.command()
@click.argument("peer", required=False)
@click.option("--json", "as_json", is_flag=True, help="Instead of text.")
@click.option(
    "--state", default=DEFAULT_STATE, help="The daemon's state, where no daemon runs.  [default: as ginneld's]"
)
@click.option("--verbose", is_flag=True, help="With PEER: tell what happened between the two as well.")
@socket_option
def doctor(*, peer: str | None, as_json: bool, state: str, verbose: bool, socket: str | None) -> None:
    """Say what is wrong, why, and what to type where.

    Alone: this machine and its network. With PEER: why the way there is relayed or dead, by what both ends know.
    Exit status 0: healthy; 1: something is degraded or broken, or the doctor could not look.
    """
    from ginnel.core.doctor.diagnosis import members
    from ginnel.core.doctor.text import lines, story

    diagnosis, pair = asyncio.run(Visit(local(socket), peer, Path(state), quiet=as_json).examine())
    if as_json:
        print(json.dumps(members(diagnosis), indent=2))
    else:
        said = lines(diagnosis, pair)
        if pair is not None and verbose:
            said += ["", *story(pair.host.name, pair.own)]
            said += story(pair.peer.name, pair.theirs) if pair.theirs is not None else []
        print("\n".join(plain(line) for line in said))
    sys.exit(0 if diagnosis.verdict == "healthy" else 1)


class Visit:
    """One examination, within 8 s."""

    def __init__(self, api: Local, peer: str | None, state: Path, *, quiet: bool) -> None:
        self._api = api
        self._peer = peer
        self._state = state
        self._told = not quiet and sys.stderr.isatty()

    async def examine(self) -> tuple[Diagnosis, Pair | None]:
        from ginnel.core.doctor.diagnosis import of_host, of_pair, of_stranger

        why_down = self._api.why_silent()
        if why_down:
            return of_host(await self._without_daemon(why_down)), None
        try:
            known = await asyncio.to_thread(self._known)
            if self._peer is None or not _runs(known):
                return of_host(await self._host(known)), None
            machine = self._machine(self._peer)
            if machine is None:
                return of_stranger(await self._host(known), self._peer), None
            pair = await self._pair(known, machine)
        except ApiError as error:
            fail(str(error))
        finally:
            self._tell("")
        return of_pair(pair), pair

    def _tell(self, line: str) -> None:
        if self._told:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    # --- this machine ------------------------------------------------------------------------------------------

    async def _without_daemon(self, why: str) -> Host:
        from ginnel.shell.doctor.gather import gather_host
        from ginnel.shell.doctor.told import known_without_daemon

        host = await gather_host(await known_without_daemon(why, self._state), self._tell)
        self._tell("")
        return host

    def _known(self) -> Known:
        from ginnel.shell.doctor.told import known_by_daemon

        return known_by_daemon(self._api.get)

    async def _host(self, known: Known) -> Host:
        """The daemon measures at the same time, so its word is asked for again when all is over."""
        from dataclasses import replace

        from ginnel.shell.doctor.gather import gather_host, misses_somebody
        from ginnel.shell.doctor.told import testimony_in

        measuring = asyncio.create_task(asyncio.to_thread(self._measure))
        host = await gather_host(known, self._tell)
        witnesses = await self._witnesses(known, host) if misses_somebody(host) else ()
        await measuring
        told = await asyncio.to_thread(self._api.get, "doctor")
        return replace(host, network=testimony_in(told["Own"]), witnesses=witnesses)

    async def _witnesses(self, known: Known, host: Host) -> tuple[Testimony, ...]:
        """Whether others reach what we don't."""
        from ginnel.shell.doctor.told import testimony_in

        self._tell("asking other machines of the mesh ...")
        missed = [relay.region for relay in host.relays if relay.https is not None and not relay.https.works]
        regions = ",".join(map(str, dict.fromkeys(missed)))
        asked = (asyncio.to_thread(self._ask_peer, address, regions) for address in known.online[:WITNESSES])
        answers = await asyncio.gather(*asked)
        return tuple(told for answer in answers if (told := testimony_in(answer)) is not None)

    def _ask_peer(self, address: str, regions: str) -> object:
        try:
            return self._api.ask("GET", f"doctor?peer={address}&region={regions}", None, WITNESS_TIME)["Theirs"]
        except (ApiError, TimeoutError):
            return None

    def _measure(self) -> None:
        try:
            self._api.ask("POST", "netcheck?full=true", None, NETCHECK_TIME)
        except (ApiError, TimeoutError):
            return  # without a map there is nothing to measure, and the daemon's last word serves

    # --- the pair ----------------------------------------------------------------------------------------------

    def _machine(self, peer: str) -> dict[str, Any] | None:
        status = self._api.get("status")
        machine = known_machine(status, peer)
        if machine is status["Self"]:
            fail(f"{peer!r} is this machine: `ginnel doctor` alone looks at it")
        return machine

    async def _pair(self, known: Known, machine: dict[str, Any]) -> Pair:
        from ginnel.shell.doctor.told import pair_of
        from ginnel.wire.tailcfg import Node, decode

        address = str(machine["TailscaleIPs"][0])
        patience = PING_TIME if machine.get("Online") else PING_TIME / 2
        host, (ping, told) = await asyncio.gather(self._host(known), asyncio.to_thread(self._meet, address, patience))
        node = decode(Node, json.dumps(self._api.get(f"whois?addr={address}")["Node"]).encode())
        return pair_of(host, node, told, ping)

    def _meet(self, address: str, patience: float) -> tuple[PingSeen, dict[str, Any]]:
        """What pings come to, and then what both ends say of it."""
        return self._ping(address, patience), self._api.get(f"doctor?peer={address}", timeout=ASK_TIME)

    def _ping(self, address: str, patience: float) -> PingSeen:
        """Until an answer comes by a direct way, or the time is over; who is pinged is searched for."""
        from ginnel.core.doctor.evidence import PingSeen

        seen = PingSeen()
        end = time.monotonic() + patience
        while (left := end - time.monotonic()) > 0 and not seen.direct:
            try:
                got = self._api.ask("POST", f"ping?ip={address}&type=disco", None, left)
            except TimeoutError:
                break
            except ApiError as error:
                return PingSeen(problem=str(error))
            if got["Err"]:
                return seen if seen.answered else PingSeen(problem=got["Err"])
            seen = PingSeen(True, got["Endpoint"], got["DERPRegionCode"])
            if not seen.direct:
                time.sleep(min(PING_GAP, left))
        return seen


def _runs(known: Known) -> bool:
    return known.daemon is not None and known.daemon.state == "Running"
