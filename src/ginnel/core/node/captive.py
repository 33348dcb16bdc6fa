"""Is a captive portal between us and the world? Only the map's own relays are asked, on TCP port 80 (tailscale:
net/captivedetection, ipn/ipnlocal/captiveportal.go; there hosts of the vendor are asked as well, and any odd answer
is an alarm).

Room: core.

    quiet --UDP silent in a full check, or connectivity gone for 2 s--> asking --+--> portal: told, asked again
      ^                                                                          |    after 5, 10, ... 60 s
      +---- no portal, or nobody answers (then quiet for 5 minutes) <------------+

A portal stands before all relays alike: so one true answer outvotes any number of odd ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from urllib.parse import urlsplit

from ginnel.core.node import peer_views
from ginnel.core.node.actions import AskPort80, Health, HealthCode
from ginnel.wire import generate204
from ginnel.wire.generate204 import Answer, expected_response
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPMap, DERPNode, Node
from ginnel.words import Instant, IpAddress, RegionId

NO_DETECTION = "disable-captive-portal-detection"
# Tailscale's
ASKED_AT_ONCE = 5
ANSWER_TIME = 3.0
AFTER_BREAK = 2.0
# ours
OTHERS_TIME = 0.5  # after a forged answer: for a true one to outvote it
SILENCE_KEPT = 300.0  # port 80 is filtered here: it is not tried again on our own account
AGAIN_MIN, AGAIN_MAX = 5.0, 60.0  # while the portal stands
UNSURE_MAX = 2  # checks without any answer until a portal that was there is taken for gone
OVERLOADED = (429, 500, 502, 503, 504)  # of a relay, or of an honest proxy before it
TEXT = "a captive portal holds up this network: open any web page in a browser and sign in there"

PortalAction = AskPort80 | Health


class Sign(Enum):
    TRUE = "the relay itself answered"
    FORGED = "somebody else answered for it"
    STRIPPED = "204 without our challenge: a proxy on the way, or a portal that knows what is looked for"
    NOTHING = "an error is no portal"


@dataclass(frozen=True, slots=True)
class Relay80:
    """A relay that says it answers on port 80."""

    host_name: str
    address: IpAddress


def relays_to_ask(derp_map: DERPMap, home: RegionId) -> list[Relay80]:
    """Literal addresses alone, for a portal's DNS lies too: home's first, one of each region before a second."""
    ranked: list[tuple[int, bool, int, Relay80]] = []
    for number, region in (derp_map.regions or {}).items():
        if region is None or region.avoid or region.no_measure_no_home:
            continue
        able = [relay for node in region.nodes or () if (relay := _relay80(node)) is not None]
        ranked += [(place, number != home, number, relay) for place, relay in enumerate(able)]
    ranked.sort(key=lambda row: row[:3])
    return list({relay.address: relay for *_, relay in ranked}.values())[:ASKED_AT_ONCE]


def _relay80(node: DERPNode) -> Relay80 | None:
    if not node.can_port80:
        return None
    for text in (node.ipv4, node.ipv6, node.host_name):
        try:
            ip = ip_address(text) if "%" not in text else None
        except ValueError:
            continue
        if ip is not None and not (ip.is_multicast or ip.is_unspecified):
            return Relay80(node.host_name, ip)
    return None


def judge(answer: Answer, challenge: str, relay: Relay80) -> Sign:
    """What an answer says of who gave it."""
    if answer.status in OVERLOADED or _own_https(answer, relay):
        return Sign.NOTHING
    if answer.status != 204 or answer.content:
        return Sign.FORGED
    if answer.response is None:
        return Sign.STRIPPED
    return Sign.TRUE if answer.response == expected_response(challenge) else Sign.FORGED


def _own_https(answer: Answer, relay: Relay80) -> bool:
    """A relay behind a web server that sends everything to https: its own fault, and no portal's way."""
    try:
        parts = urlsplit(answer.location)
    except ValueError:
        return False
    host = (parts.hostname or "").rstrip(".")
    return parts.scheme == "https" and parts.path == "/generate_204" and host in (relay.host_name, str(relay.address))


def detection_allowed(node: Node | None) -> bool:
    """The policy's word on it."""
    return node is None or not peer_views.has_attribute(node, NO_DETECTION)


@dataclass(slots=True)
class _Asking:
    """One check: who has not answered, and what the others' answers mean."""

    ends_at: Instant
    open: dict[int, tuple[Relay80, str]] = field(default_factory=dict)
    signs: set[Sign] = field(default_factory=set)


class Captive:
    """`verdict`: of the last check; None: not checked, or nobody answered. `filtered`: the latter. `other_way`: says
    whether something gets through to a relay or the server just now."""

    def __init__(self, entropy: Callable[[int], bytes], other_way: Callable[[Instant], bool]) -> None:
        self.verdict: bool | None = None
        self.filtered = False
        self._entropy = entropy
        self._other_way = other_way
        self._map = DERPMap()
        self._allowed = True
        self._asking: _Asking | None = None
        self._last_number = 0
        self._home = RegionId(0)
        self._broken_at: Instant | None = None  # when to look, because connectivity went
        self._again_at: Instant | None = None  # when to look again, because a portal was there
        self._again_after = AGAIN_MIN
        self._unsure = 0
        self._silent_until = Instant(float("-inf"))
        self._connected = True

    @property
    def asking(self) -> bool:
        return self._asking is not None

    # --- inputs ---

    def map_changed(self, derp_map: DERPMap) -> None:
        if derp_map != self._map:
            self._silent_until = Instant(float("-inf"))
        self._map = derp_map

    def policy_changed(self, allowed: bool) -> list[PortalAction]:
        """`detection_allowed` of our own node."""
        self._allowed = allowed
        return [] if allowed else self.network_changed()

    def network_changed(self) -> list[PortalAction]:
        """What was found says nothing of the network that we are in now."""
        told = self.verdict is True
        self._asking = self._broken_at = self._again_at = self.verdict = None
        self.filtered, self._unsure, self._again_after = False, 0, AGAIN_MIN
        self._silent_until = Instant(float("-inf"))
        self._connected = True
        return [Health(HealthCode.CAPTIVE_PORTAL, None)] if told else []

    def connectivity(self, connected: bool, home: RegionId, now: Instant) -> list[PortalAction]:
        """Home's relay and the server are both there, or not. Call it as often as you like."""
        self._home = home
        if connected == self._connected:
            return []
        self._connected = connected
        self._broken_at = None if connected else Instant(now + AFTER_BREAK)
        return self.check(now, force=True) if connected and self.verdict else []

    def udp_works(self, now: Instant) -> list[PortalAction]:
        """A STUN server answered: whatever there was lets us through."""
        if self._asking is None and not self.verdict:
            return []
        self._asking = None
        return self._conclude(False, now)

    def check(self, now: Instant, *, force: bool = False) -> list[PortalAction]:
        """Ask, unless that is going on or is known to lead to nothing; `force`: somebody wants to know."""
        if self._asking is not None or not self._allowed or (now < self._silent_until and not force):
            return []
        self._broken_at = self._again_at = None
        asking = _Asking(Instant(now + ANSWER_TIME))
        actions: list[PortalAction] = []
        for relay in relays_to_ask(self._map, self._home):
            self._last_number += 1
            challenge = "ts_" + self._entropy(8).hex()
            asking.open[self._last_number] = (relay, challenge)
            actions.append(AskPort80(self._last_number, relay.address, challenge))
        self._asking = asking if actions else None
        return actions

    def answered(self, number: int, answer: bytes, now: Instant) -> list[PortalAction]:
        """What came for `AskPort80`, b"" if nothing did."""
        asking = self._asking
        asked = asking.open.pop(number, None) if asking is not None else None
        if asking is None or asked is None:
            return []
        sign = _sign(answer, asked[1], asked[0])
        asking.signs.add(sign)
        if sign is Sign.FORGED:
            asking.ends_at = min(asking.ends_at, Instant(now + OTHERS_TIME))
        return self.tick(now)

    # --- time ---

    def next_timeout(self) -> Instant | None:
        times = (self._asking.ends_at if self._asking else None, self._broken_at, self._again_at)
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: Instant) -> list[PortalAction]:
        actions: list[PortalAction] = []
        if self._asking is not None and self._over(self._asking, now):
            signs, self._asking = self._asking.signs, None
            actions += self._conclude(self._verdict(signs, now), now)
        if self._again_at is not None and self._again_at <= now:
            self._again_at = None
            actions += self.check(now, force=True)
        if self._broken_at is not None and self._broken_at <= now:
            self._broken_at = None
            actions += self.check(now)
        return actions

    def _over(self, asking: _Asking, now: Instant) -> bool:
        if now >= asking.ends_at or Sign.TRUE in asking.signs:
            return True
        return not asking.open and (Sign.STRIPPED not in asking.signs or self._verdict(asking.signs, now) is False)

    def _verdict(self, signs: set[Sign], now: Instant) -> bool | None:
        """A 204 without the challenge is a portal's only where nothing else gets through: proxies and caches strip
        what they don't know (tailscale#14856)."""
        if Sign.TRUE in signs:
            return False
        if Sign.FORGED in signs:
            return True
        return not self._other_way(now) if Sign.STRIPPED in signs else None

    def _conclude(self, verdict: bool | None, now: Instant) -> list[PortalAction]:
        before, self.filtered = self.verdict, verdict is None
        self._unsure = self._unsure + 1 if verdict is None else 0
        if verdict is None and before and not self._connected and self._unsure < UNSURE_MAX:
            verdict = True
        if verdict is None:
            self._silent_until = Instant(now + SILENCE_KEPT)
        self._again_at = Instant(now + self._again_after) if verdict else None
        self._again_after = min(AGAIN_MAX, 2 * self._again_after) if verdict else AGAIN_MIN
        self.verdict = verdict
        if bool(verdict) == bool(before):
            return []
        return [Health(HealthCode.CAPTIVE_PORTAL, TEXT if verdict else None)]


def _sign(answer: bytes, challenge: str, relay: Relay80) -> Sign:
    try:
        return judge(generate204.parse_answer(answer), challenge, relay)
    except WireError:
        return Sign.NOTHING
