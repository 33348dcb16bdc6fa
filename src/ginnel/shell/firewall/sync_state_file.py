"""The last good state as bytes, with a digest: what a disk has garbled is no state, though it may still be JSON.

Room: shell. How long ago it was written is told by the clock that counts since the machine was started: nobody sets
that one. Over a restart of the machine nothing is known but that some time has passed, and none of it counts.
"""

from __future__ import annotations

import hashlib
import time
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import msgspec

from ginnel.core.firewall.sync_words import MAX_ADDRESSES, Question, Saved, SavedLeaving

VERSION = 2
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class _Vouched(msgspec.Struct, frozen=True):
    name: str
    family: int
    ttl: float
    addresses: list[str]


class _Leaving(msgspec.Struct, frozen=True):
    address: str
    left: float
    name: str
    family: int
    why: str
    stranger: bool = False
    of: list[tuple[str, int]] = []


class _Rotating(msgspec.Struct, frozen=True):
    name: str
    family: int
    stays: float


class _State(msgspec.Struct, frozen=True):
    boot: str
    at: float
    serial: int
    vouched: list[_Vouched]
    leaving: list[_Leaving]
    rotating: list[_Rotating]
    key: str


class _File(msgspec.Struct, frozen=True):
    """`digest`: SHA-256 of the bytes of `state`."""

    version: int
    digest: str
    state: msgspec.Raw


class Clock(NamedTuple):
    """`boot`: of which start of the machine, "" where nobody says; `seconds`: since then."""

    boot: str
    seconds: float


class Read(NamedTuple):
    saved: Saved
    elapsed: float
    key: str


def boot_clock() -> Clock:
    try:
        boot = BOOT_ID.read_text().strip()
    except OSError:
        boot = ""
    return Clock(boot, time.clock_gettime(time.CLOCK_BOOTTIME))


def write(saved: Saved, key: str, clock: Clock) -> bytes:
    """`key`: of the feed whose serial it is."""
    rotating = [_Rotating(question.name, question.family, stays) for question, stays in saved.rotating]
    state = msgspec.json.encode(
        _State(clock.boot, clock.seconds, saved.serial, _vouched(saved), _leaving(saved), rotating, key)
    )
    return msgspec.json.encode(_File(VERSION, hashlib.sha256(state).hexdigest(), msgspec.Raw(state)))


def read(data: bytes, clock: Clock) -> Read:
    """Raises ValueError, as msgspec does, or RecursionError."""
    file = msgspec.json.decode(data, type=_File)
    if file.version != VERSION:
        raise ValueError(f"version {file.version}, expected {VERSION}")
    if hashlib.sha256(file.state).hexdigest() != file.digest:
        raise ValueError("its bytes are not those that were written")
    state = msgspec.json.decode(file.state, type=_State)
    if sum(len(one.addresses) for one in state.vouched) + len(state.leaving) > 4 * MAX_ADDRESSES:
        raise ValueError("too many addresses")
    same = bool(state.boot) and state.boot == clock.boot
    return Read(_saved(state), max(0.0, clock.seconds - state.at) if same else 0.0, state.key)


def _saved(state: _State) -> Saved:
    return Saved(
        state.serial,
        tuple(
            (_question(one.name, one.family), frozenset(map(ip_address, one.addresses)), one.ttl)
            for one in state.vouched
        ),
        tuple(
            SavedLeaving(
                ip_address(one.address),
                one.left,
                _question(one.name, one.family),
                one.why,
                one.stranger,
                frozenset(_question(*named) for named in one.of),
            )
            for one in state.leaving
        ),
        tuple((_question(one.name, one.family), one.stays) for one in state.rotating),
    )


def _question(name: str, family: int) -> Question:
    return Question(name, 4 if family == 4 else 6 if family == 6 else 0)


def _vouched(saved: Saved) -> list[_Vouched]:
    return [_Vouched(q.name, q.family, ttl, list(map(str, addresses))) for q, addresses, ttl in saved.vouched]


def _leaving(saved: Saved) -> list[_Leaving]:
    return [
        _Leaving(str(one.address), one.left, *one.question, one.why, one.stranger, sorted(one.of))
        for one in saved.leaving
    ]
