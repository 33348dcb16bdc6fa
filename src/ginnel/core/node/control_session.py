"""The node's side of the control protocol: log in, hold the map stream, report changes, answer pings.

Room: core. No sockets, clocks, files or logs come in. The shell performs each action and tells its outcome; it dials
when an action needs a connection, so a lost connection is nothing but failed actions.

Source: tailscale: control/controlclient/{auto,direct,map}.go, tailcfg/tailcfg.go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from ginnel.core.node.backoff import Backoff
from ginnel.core.node.c2n import answer_c2n, asker_of
from ginnel.core.node.control_actions import (
    CloseMap,
    ControlAction,
    KeyExpired,
    Merge,
    OpenMap,
    Probe,
    Reply,
    Report,
    SendLite,
    Testify,
)
from ginnel.core.node.login import CAPABILITY_VERSION, KeepKey, Login, LoginAction, may_open
from ginnel.wire.tailcfg import MapRequest, MapResponse, PingRequest, RegisterResponse
from ginnel.words import DiscoKey, Instant, NodePrivate, WallTime

WATCHDOG = 120.0
"""Seconds without any frame after which the map stream counts as dead (tailscale: controlclient/direct.go)."""

EXPIRY_GRACE = 10.0
"""The node gives its key up this long after its expiry, as the official client does."""


# --- the map stream's states -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NoStream:
    """Not logged in, or not wanted."""


@dataclass(frozen=True, slots=True)
class Streaming:
    """Asked for or flowing; `heard`: the last frame, or the request when there was none. `mapped`: a map came."""

    heard: Instant
    mapped: bool = False


@dataclass(frozen=True, slots=True)
class Reopening:
    until: Instant
    why: str


MapState = NoStream | Streaming | Reopening


class ControlSession:
    """One coordination server. Inputs return the actions to perform, in order."""

    def __init__(
        self,
        login: Login,
        *,
        disco: DiscoKey,
        jitter: Callable[[], float],
        plain: bool = False,
    ) -> None:
        self.login = login
        self.map: MapState = NoStream()
        self.report = Report(login.hostinfo)
        self.expired = False
        self._key: NodePrivate | None = None  # what the map is asked with; the old one until a rotation is through
        self._disco = disco
        self._plain = plain
        self._stream_backoff = Backoff(jitter)
        self._lite_backoff = Backoff(jitter)
        self._lite_sent: Report | None = None  # in flight
        self._lite_known: Report | None = None  # what the server has
        self._lite_retry: Instant | None = None
        self._expires_at: Instant | None = None
        self._pinged = ""

    @property
    def problem(self) -> str:
        """Why the node has no word from its server just now, or ""."""
        return self.map.why if isinstance(self.map, Reopening) else self.login.problem

    @property
    def in_map_poll(self) -> bool:
        return isinstance(self.map, Streaming) and self.map.mapped

    # --- login -------------------------------------------------------------------------------------------------

    def start(self, *, auth_key: str = "", fresh: bool = False) -> list[ControlAction]:
        """Log in and hold the map. While a rotation is under way, a stream with the old key stays open."""
        return list(self.login.start(auth_key=auth_key, fresh=fresh))

    def stop(self) -> list[ControlAction]:
        """Leave the server alone, staying logged in."""
        return self._end_stream()

    def logout(self) -> list[ControlAction]:
        self._key = None
        return [*self._end_stream(), *self.login.logout()]

    def registered(self, response: RegisterResponse, now: Instant) -> list[ControlAction]:
        return self._after_login(self.login.answered(response, now), now)

    def register_failed(self, why: str, now: Instant) -> list[ControlAction]:
        return list(self.login.unanswered(why, now))

    def refuse(self, why: str) -> list[ControlAction]:
        return [*self._end_stream(), *self.login.refuse(why)]

    def _after_login(self, actions: list[LoginAction], now: Instant) -> list[ControlAction]:
        kept = [action.key for action in actions if isinstance(action, KeepKey)]
        if not kept or kept[0] is None:
            return list(actions)
        self._key = kept[0]
        self.expired = False
        self._expires_at = None
        return [*actions, *self._end_stream(), *self._open(now), *self._send_report()]

    # --- the map stream ----------------------------------------------------------------------------------------

    def map_frame(self, frame: MapResponse, now: Instant, wall: WallTime) -> list[ControlAction]:
        """One frame of the stream. `wall`: this machine's clock, for the expiry of its own key."""
        if not isinstance(self.map, Streaming):
            return []
        first = not self.map.mapped
        self.map = Streaming(heard=now, mapped=not (first and frame.keep_alive))
        self._stream_backoff.succeeded()
        actions = self._answer_ping(frame.ping_request)
        if frame.keep_alive:
            return actions
        if frame.node is not None:
            actions += self._self_expiry(frame, now, wall)
        return [*actions, Merge(frame, first=first)]

    def map_ended(self, why: str, now: Instant) -> list[ControlAction]:
        if not isinstance(self.map, Streaming):
            return []
        self.map = Reopening(Instant(now + self._stream_backoff.failed()), why)
        return []

    def _open(self, now: Instant) -> list[ControlAction]:
        if self._key is None:
            return self._end_stream()
        self.map = Streaming(heard=now)
        return [OpenMap(self._map_request(self._key, self.report, stream=True))]

    def _end_stream(self) -> list[ControlAction]:
        was, self.map = self.map, NoStream()
        self._lite_sent = self._lite_known = self._lite_retry = None
        return [CloseMap()] if isinstance(was, Streaming) else []

    def _self_expiry(self, frame: MapResponse, now: Instant, wall: WallTime) -> list[ControlAction]:
        assert frame.node is not None
        expiry = frame.node.key_expiry
        if expiry is None or expiry.year <= 1:
            self._expires_at = None
        else:
            self._expires_at = Instant(now + max(0.0, expiry.timestamp() + EXPIRY_GRACE - wall))
            if expiry.timestamp() <= wall:
                self._expires_at = now
        return self._expire(now)

    def _expire(self, now: Instant) -> list[ControlAction]:
        """The stream stays open when the key expires: a later self node may make it good again."""
        expired = self._expires_at is not None and now >= self._expires_at
        if expired == self.expired:
            return []
        self.expired = expired
        return [KeyExpired(expired)]

    # --- reports -----------------------------------------------------------------------------------------------

    def update(self, report: Report) -> list[ControlAction]:
        """Tell the server what changed here. While one report is on its way only the newest waits behind it."""
        self.report = report
        self.login.hostinfo = dict(report.hostinfo)
        return self._send_report()

    def lite_done(self) -> list[ControlAction]:
        self._lite_known, self._lite_sent = self._lite_sent, None
        self._lite_backoff.succeeded()
        return self._send_report()

    def lite_failed(self, now: Instant) -> list[ControlAction]:
        if self._lite_sent is not None:
            self._lite_sent = None
            self._lite_retry = Instant(now + self._lite_backoff.failed())
        return []

    def _send_report(self) -> list[ControlAction]:
        idle = self._lite_sent is None and self._lite_retry is None
        if self._key is None or not idle or isinstance(self.map, NoStream) or self.report == self._lite_known:
            return []
        self._lite_sent = self.report
        return [SendLite(self._map_request(self._key, self.report, stream=False))]

    def _map_request(self, key: NodePrivate, report: Report, *, stream: bool) -> MapRequest:
        return MapRequest(
            version=CAPABILITY_VERSION,
            compress="zstd",
            keep_alive=True,
            node_key=key.public(),
            disco_key=self._disco,
            stream=stream,
            omit_peers=not stream,
            hostinfo=dict(report.hostinfo),
            endpoints=list(report.endpoints),
            endpoint_types=list(report.endpoint_types),
        )

    # --- pings -------------------------------------------------------------------------------------------------

    def _answer_ping(self, ping: PingRequest | None) -> list[ControlAction]:
        if ping is None or not ping.url or ping.url == self._pinged:
            return []
        self._pinged = ping.url
        if ping.types == "c2n":
            path = urlsplit(ping.url).path or "/"
            payload = ping.payload or b""
            if not path.isascii():
                return []
            asker = asker_of(payload)
            return [Testify(path, asker) if asker is not None else Reply(path, answer_c2n(payload))]
        if ping.types or not may_open(ping.url, plain=self._plain):
            return []
        return [Probe(ping.url, ping.url_is_noise)]

    # --- time --------------------------------------------------------------------------------------------------

    def tick(self, now: Instant) -> list[ControlAction]:
        actions = self._after_login(self.login.tick(now), now)
        match self.map:
            case Streaming(heard=heard) if now >= heard + WATCHDOG:
                actions.append(CloseMap(dead=True))
                actions += self.map_ended(f"the server said nothing for {WATCHDOG:.0f} seconds", now)
            case Reopening(until=until) if now >= until:
                actions += self._open(now)
        if self._lite_retry is not None and now >= self._lite_retry:
            self._lite_retry = None
            actions += self._send_report()
        return [*actions, *self._expire(now)]

    def next_timeout(self) -> Instant | None:
        expiry = None if self.expired else self._expires_at
        times = [self.login.next_timeout(), self._map_timeout(), self._lite_retry, expiry]
        return min((time for time in times if time is not None), default=None)

    def _map_timeout(self) -> Instant | None:
        match self.map:
            case Streaming(heard=heard):
                return Instant(heard + WATCHDOG)
            case Reopening(until=until):
                return until
        return None
