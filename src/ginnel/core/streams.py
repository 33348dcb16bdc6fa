"""What the streams of a connection tell, what they may cost, and how calls on them fail.

Room: core. Nouns only; the machine is `core/exchange.py`, and `core/channel.py` gives them all to its users.
"""

from __future__ import annotations

from dataclasses import dataclass


class ChannelError(Exception):
    """The call cannot be done: the channel or the stream has ended. Nothing was sent."""


class StreamGone(ChannelError):
    """The stream was reset, has ended, or never was. Expect it where a peer may leave at any time."""


class SlowReader(ChannelError):
    """More bytes than the limit would wait for the peer to read. Nothing was taken; reset the stream."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer may make us hold or do."""

    body: int | None = 1 << 20  # bytes of one message's body; None: any number
    queue: int = 16 << 20  # bytes that wait for the peer's windows, all streams together
    streams: int = 32  # open at once by the peer
    headers: int = 16 << 10  # bytes of one header list, by RFC 9113's count
    unanswered_resets: int = 100  # requests taken back before an answer; an answer gives one back
    quiet_frames: int = 1000  # frames that ask for nothing
    quiet_bytes: int = 128 << 10  # bytes that complete no frame, or frames for streams that are gone


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head. Its body follows as Body; the one with `ended` is the last."""

    stream: int
    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """A response's head. Its body follows as Body; the one with `ended` is the last."""

    stream: int
    status: int
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Body:
    stream: int
    data: bytes
    ended: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The stream is over before its end: the peer took it back, or it passed a limit."""

    stream: int
    reason: str


@dataclass(frozen=True, slots=True)
class Writable:
    """What waited on this stream has all been sent."""

    stream: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a ping of ours."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Always the last event. The reason is one line."""

    reason: str


Exchange = Request | Response | Body | Reset | Writable | Pong | Closed
