"""The relay as a running thing: the front door in Rust, its certificates kept fresh, its end.

Room: shell. Packets never come here; members, certificates and counters do.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Self

from ginnel.core.relay.identity import (
    META_RENEWAL,
    LeafFacts,
    Place,
    derp_node,
    derp_region,
    is_host,
    meta_certificate,
)
from ginnel.native import Relay
from ginnel.shell.acme import AcmeKeeper
from ginnel.shell.descriptors import allowed_descriptors
from ginnel.shell.relay_files import Certificate, certificate, relay_key, watched
from ginnel.shell.relay_settings import RelayError, RelaySettings, connection_limits, receive_limits
from ginnel.wire.tailcfg import DERPRegion
from ginnel.words import NodeKey, NodePrivate, WallTime

TICK = 2.0
"""Seconds between two looks at what may have changed."""

FULL_LOOK = 3600.0
"""Seconds between two looks at the certificates even if no file has changed."""

LAST_LOGINS = 2.0
"""Seconds that those have who are about to log in when the relay ends."""

RESTART = (0.0, 10.0)
"""Clients that listen are told to come back at once, and how long to try, in seconds."""


class EmbeddedRelay:
    """A relay that serves from `start` to `close`. `tick` keeps its certificates fresh."""

    def __init__(self, settings: RelaySettings, now: WallTime) -> None:
        """Raises RelayError."""
        if not is_host(settings.hostname):
            raise RelayError(
                f"{settings.hostname!r} is no host: give a name of ASCII letters (xn--... for others) or an IP address"
            )
        self._settings = settings
        private = relay_key(settings.state)
        self.key: NodeKey = private.public()
        self._watch = watched(settings)
        self._certificate = certificate(settings, now)
        self._meta_made = now
        self._next_look = WallTime(now + FULL_LOOK)
        self.native = _start(settings, private, self._certificate, self._meta(now))
        self.acme = self._keeper(now)

    def _keeper(self, now: WallTime) -> AcmeKeeper | None:
        settings = self._settings
        if settings.acme is None:
            return None
        try:
            return AcmeKeeper(settings.acme, settings.hostname, settings.state, self.native, now)
        except RelayError:
            self.native.close()
            raise

    @classmethod
    def start(cls, settings: RelaySettings, now: WallTime) -> Self:
        return cls(settings, now)

    @property
    def leaf(self) -> LeafFacts:
        return self._certificate.facts

    @property
    def region(self) -> DERPRegion:
        """The relay's region for a DERP map."""
        settings, bound = self._settings, self.native.addresses()
        place = Place(
            host=settings.hostname,
            derp_port=settings.derp_port or bound["tls"][0][1],
            stun_port=bound["stun"][0][1] if bound["stun"] else -1,
            port_80=any(port == 80 for _, port in bound["http"]),
            ipv4=settings.ipv4,
            ipv6=settings.ipv6,
        )
        node = derp_node(place, settings.region, self.leaf)
        return derp_region(node, settings.region_code, settings.region_name)

    def set_members(self, keys: Iterable[NodeKey]) -> None:
        """Who may log in when `members_only`; others are disconnected."""
        self.native.set_members([key.raw for key in keys])

    def add_member(self, key: NodeKey) -> None:
        self.native.add_member(key.raw)

    def remove_member(self, key: NodeKey) -> None:
        self.native.remove_member(key.raw)

    def set_bootstrap_dns(self, published: str, unpublished: Mapping[str, str]) -> None:
        self.native.set_bootstrap_dns(published, unpublished)

    def tick(self, now: WallTime, *, look: bool = False) -> bool:
        """Renew or reload what is due, and look at the files at once if `look`. True if the region's entry changed, so
        that nodes have to be told.

        Raises RelayError if given files have become unusable; what is served stays as it was.
        """
        obtained = self.acme is not None and self.acme.tick(now)
        changed = self._watch.news()
        if not (look or obtained or changed or now >= self._next_look):
            return False
        self._next_look = WallTime(now + FULL_LOOK)
        fresh = certificate(self._settings, now)
        if fresh == self._certificate and now < self._meta_made + META_RENEWAL.total_seconds():
            return False
        return self._serve(fresh, now)

    def _serve(self, fresh: Certificate, now: WallTime) -> bool:
        before = self.region
        if fresh.facts.expires <= now < self.leaf.expires:
            ended = datetime.fromtimestamp(fresh.facts.expires, UTC)
            raise RelayError(f"the new certificate has ended on {ended:%Y-%m-%d}; the relay goes on with the old one")
        try:
            self.native.set_certificate(fresh.chain + self._meta(now), fresh.key)
        except ValueError as error:
            raise RelayError(f"the relay's certificate can't be used: {error}; it goes on with the old one") from None
        self._certificate, self._meta_made = fresh, now
        return self.region != before

    async def retire(self) -> None:
        """End without losing anybody who has just come: no more connections are taken, logins under way are waited
        for, and clients are told that the relay comes back. Then close."""
        self.native.stop_listening()
        deadline = asyncio.get_running_loop().time() + LAST_LOGINS
        while True:
            await asyncio.sleep(0.02)  # also before the first look: a connection may be on its way to being counted
            if not self.native.half_open() or asyncio.get_running_loop().time() >= deadline:
                break
        self.native.drain(*RESTART)
        self.close()

    def close(self) -> None:
        self.native.close()

    def _meta(self, now: WallTime) -> bytes:
        return meta_certificate(self.key, secrets.token_bytes(32), now)


def _start(settings: RelaySettings, private: NodePrivate, served: Certificate, meta: bytes) -> Relay:
    try:
        return Relay(
            private.raw,
            certificate=served.chain + meta,
            certificate_key=served.key,
            tls=settings.tls,
            http=settings.http,
            stun=settings.stun,
            splice=str(settings.splice) if settings.splice is not None else None,
            members_only=settings.members_only,
            threads=settings.threads,
            inherited=settings.inherited,
            ask_before_login=settings.verify is not None,
            limits=connection_limits(allowed_descriptors(), splices=settings.splice is not None)
            | receive_limits(settings.receive_rate),
        )
    except ValueError as error:
        raise RelayError(str(error)) from None
    except OSError as error:
        raise RelayError(_explain(error)) from None


def _explain(error: OSError) -> str:
    what = (error.strerror or str(error)).split(" (os error")[0]
    match error.errno:
        case errno.EADDRINUSE:
            return f"{what}: stop the program that has it, or choose another port"
        case errno.EACCES | errno.EPERM:
            return f"{what}: run as root, grant CAP_NET_BIND_SERVICE, or choose ports above 1023"
        case errno.EADDRNOTAVAIL:
            return f"{what}: no interface of this machine has that address"
        case errno.EAFNOSUPPORT:
            return f"{what}: this system has no IPv6, listen on 0.0.0.0"
    return what
