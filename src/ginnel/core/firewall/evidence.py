"""What a probe saw: which step ended it, how, after how long, and what came instead of the answer.

Room: core. The shell fills it in (`shell/probe`); `verdict.py` says what it looks like. Everything that came from the
network is a stranger's: `received` is cut at RECEIVED_KEPT bytes, names of certificates at TEXT_KEPT characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ginnel.words import IpAddress

RECEIVED_KEPT = 256
TEXT_KEPT = 120


class Step(StrEnum):
    """In the order of a conversation; a probe ends with the last one that it came to."""

    NAME = "name"  # the host's addresses by DNS
    CONNECT = "connect"  # TCP
    TLS = "tls"
    UPGRADE = "upgrade"  # the HTTP request and the head of its answer: DERP's, ts2021's, or just a page
    KEY = "key"  # the relay's first frame; of a coordination server the answer to /key
    LOGIN = "login"  # a relay's login, a coordination server's Noise handshake
    STUN = "stun"
    PORT80 = "port80"  # /generate_204 in plain HTTP


class Ending(StrEnum):
    """How the last step ended, as the socket saw it."""

    DONE = "done"
    SILENCE = "silence"  # nothing more came until time was up
    RESET = "reset"  # RST on a connection that stood
    CLOSED = "closed"  # FIN on one
    REFUSED = "refused"  # RST to the SYN; by UDP, and for a SYN too, ICMP "port unreachable"
    UNREACHABLE = "unreachable"  # other ICMP errors, or no route
    FORBIDDEN = "forbidden"  # EPERM, EACCES: this machine's own rules
    CERTIFICATE = "certificate"  # not the one that was expected
    ANSWER = "answer"  # somebody said something else than what was asked for
    NO_NAME = "no-name"  # DNS says that there is none, or fails
    FAULT = "fault"  # this machine could not even try: no socket, no memory


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate as it says of itself. not_before, not_after: seconds since 1970. covers: it bears the host's name.
    pin: `sha256-raw:<hex>`."""

    issuer: str
    subject: str
    self_signed: bool
    covers: bool
    not_before: float
    not_after: float
    pin: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """One probe. seconds: of the last step; error: in the system's words. received: the first bytes that came in the
    last step, count: how many did. status, location, html: of an HTTP answer. leaf: of the other end, where TLS came to
    that; problem: why it is not trusted, "" when it is. pinned: it was compared with a pin. small_segments,
    without_name: whether a second try came further with a small MSS, or without the host's name in TLS (None: not
    tried). expected, answered: of DNS. round_trip: how far away in seconds the host is by another way, None: unknown.
    """

    step: Step
    ending: Ending
    seconds: float = 0.0
    error: str = ""
    received: bytes = b""
    count: int = 0
    status: int = 0
    location: str = ""
    html: bool = False
    leaf: Leaf | None = None
    problem: str = ""
    pinned: bool = False
    small_segments: bool | None = None
    without_name: bool | None = None
    expected: tuple[IpAddress, ...] = ()
    answered: tuple[IpAddress, ...] = ()
    round_trip: float | None = None

    @property
    def done(self) -> bool:
        return self.ending is Ending.DONE
