"""Punch: two ginnel nodes agree on how to get through NATs that ordinary disco cannot (docs/protocol/punch.md).

Room: wire. One more type of disco message, sealed as the others are and sent by relay alone. Its number is far from
those that Tailscale counts upwards from 1; a client that does not know a type drops the message in silence (tailscale:
wgengine/magicsock/magicsock.go, where disco.Parse fails). Bytes after the body are skipped, and the version is not
looked at.

    0x67 version(1) | step(1) nat(1) ttl(1) 0(1) delta(2, signed) | session(8) | endpoint(18)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from ginnel.wire.address import read_address, write_address
from ginnel.wire.read import Malformed, Reader
from ginnel.words import Endpoint

SESSION_SIZE = 8


class Step(IntEnum):
    OFFER = 1  # this is my NAT: let us try
    ANSWER = 2  # and this is mine; what can be opened on my side is open
    OPENED = 3  # now mine is open too
    REFUSED = 4  # not now, or not with these two NATs


class NatKind(IntEnum):
    """How a NAT chooses the outside port of a socket that was just opened."""

    UNKNOWN = 0
    EASY = 1  # one for all destinations
    SEQUENTIAL = 2  # another for each destination, a step beyond the last
    RANDOM = 3  # another for each destination, anywhere


@dataclass(frozen=True, slots=True)
class Punch:
    """`endpoint`: where a socket of the sender's was seen last; IPv4. Of an easy NAT that is where it is reached, of a
    sequential one the next mapping is `delta` ports further. `ttl`: hops that openers may go, 0: all the way."""

    step: Step
    session: bytes
    nat: NatKind
    endpoint: Endpoint
    delta: int = 0
    ttl: int = 0
    kind: ClassVar[int] = 0x67

    def body(self) -> bytes:
        fixed = bytes([self.step, self.nat, self.ttl, 0]) + self.delta.to_bytes(2, "big", signed=True)
        return fixed + self.session + write_address(self.endpoint)


def read_punch(read: Reader, _version: int) -> Punch:
    """Read the body. Raises WireError."""
    step, nat, ttl, _ = read.u8(), read.u8(), read.u8(), read.u8()
    delta = int.from_bytes(read.take(2), "big", signed=True)
    session, endpoint = read.take(SESSION_SIZE), read_address(read)
    try:
        return Punch(Step(step), session, NatKind(nat), endpoint, delta, ttl)
    except ValueError as error:
        raise Malformed(f"punch: {error}") from None
