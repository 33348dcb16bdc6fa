"""Relays for tests: on loopback, with one key and certificate, closed when the test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ginnel.core.relay.identity import SelfSigned, meta_certificate
from ginnel.native import Relay
from ginnel.words import NodePrivate, WallTime

NOW = WallTime(1_760_000_000.0)  # certificates of then are good for ten years, and probes look at their dates
SECRET = NodePrivate(bytes(range(32)))
KEY = SECRET.public().raw
ENTROPY = bytes(range(64))
Serve = Callable[..., Relay]


@contextmanager
def relays() -> Iterator[Serve]:
    """Gives a function that starts a relay; its options are the native constructor's."""
    started: list[Relay] = []
    made = SelfSigned.make("127.0.0.1", ENTROPY, NOW)

    def start(**options: object) -> Relay:
        chain = made.certificate + meta_certificate(SECRET.public(), bytes(32), NOW)
        listen = {"tls": ["127.0.0.1:0"], "http": ["127.0.0.1:0"], "stun": ["127.0.0.1:0"]}
        arguments = {"splice": None, "members_only": False, "handshake_timeout": 5.0, **listen, **options}
        relay = Relay(SECRET.raw, certificate=chain, certificate_key=made.key, **arguments)  # type: ignore[arg-type]
        started.append(relay)
        return relay

    yield start
    for relay in started:
        relay.close()


def port(relay: Relay, kind: str = "tls") -> int:
    return relay.addresses()[kind][0][1]
