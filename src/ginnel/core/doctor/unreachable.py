"""Why two machines do not meet at all, neither directly nor by a relay.

Room: core. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from ginnel.core.doctor.causes import Cause, Finding, Fix
from ginnel.core.doctor.evidence import Pair, Source

OUT_OF_DATE = ("NotValidYet", "Expired")
"""What rustls says of a certificate's dates (rustls: CertificateError)."""


def no_relay(pair: Pair) -> Iterable[Finding]:
    """Neither direct nor by a relay: each end hears by its home relay, so the other must reach that one."""
    if pair.peer.online is False or pair.peer.expired:
        return
    home = pair.theirs.home if pair.theirs is not None and pair.theirs.home else pair.peer.home
    mine = next((relay for relay in pair.own.relays if relay.region == home), None)
    name, reached = _region(pair, home), (mine is not None and mine.connected) or _answers(pair, home)
    if home and not reached:
        why = mine.problem if mine is not None and mine.problem else "it does not answer"
        lines = [f"{pair.peer.name} listens at relay {name}, which this machine does not reach: {why}"]
        if there := _reaches(pair, home):
            lines.append(f"{pair.peer.name} is connected to it, so it is not down")
        also = f"in the firewall: let TCP out to port 443 of relay {name}"
        fix = Fix(pair.host.name, "ginnel firewall verify", also)
        yield Finding(Cause.RELAY_BLOCKED, 0.96 if there else 0.8, tuple(lines), fix, about=name)
    yield from _peers_relay(pair, home if reached else 0)
    if home and pair.own.home and home != pair.own.home and not reached:
        lines = [f"this machine's relay is {_region(pair, pair.own.home)}, that of {pair.peer.name} is {name}"]
        neither = _misses(pair, pair.own.home)
        if neither:
            lines.append(f"{pair.peer.name} does not reach {_region(pair, pair.own.home)} either: no relay is common")
        fix = Fix(
            pair.host.name, "ginnel firewall verify", f"on both: let TCP out to port 443 of {name} or of the other"
        )
        yield Finding(Cause.NO_COMMON_RELAY, 0.97 if neither else 0.6, tuple(lines), fix, about=name)


def _answers(pair: Pair, region: int) -> bool:
    """To this command. A daemon is connected to relays that it uses, and no others: that it is not says nothing."""
    return any(relay.region == region and relay.https is not None and relay.https.works for relay in pair.host.relays)


def _misses(pair: Pair, region: int) -> bool:
    """Whether the peer's own word says that it does not reach that relay."""
    relays = pair.theirs.relays if pair.theirs is not None and pair.source is not Source.MAP else ()
    told = next((relay for relay in relays if relay.region == region), None)
    if told is not None and (told.connected or (told.latency is not None and not told.problem)):
        return False
    return bool(relays) and (told is None or bool(told.problem) or told.latency is None)


def _reaches(pair: Pair, region: int) -> bool:
    """By the peer's own word."""
    return pair.theirs is not None and any(r.region == region and r.connected for r in pair.theirs.relays)


def _peers_relay(pair: Pair, home: int) -> Iterable[Finding]:
    """home: its relay, which we reach; 0: we don't."""
    relays = pair.theirs.relays if pair.theirs is not None else ()
    fix = Fix(pair.peer.name, "ginnel doctor")
    if relays and not any(relay.connected for relay in relays):
        problems = [f"{_region(pair, r.region)}: {r.problem}" for r in relays if r.problem]
        lines = (f"{pair.peer.name} is connected to no relay", *problems[:3])
        about = _region(pair, home or relays[0].region)
        dated = all(any(sign in relay.problem for sign in OUT_OF_DATE) for relay in relays if relay.problem)
        if problems and dated:
            clock = Fix(pair.peer.name, "sudo timedatectl set-ntp true", "or set the clock by hand")
            why = "certificates that are good elsewhere are out of date there: its clock is wrong"
            yield Finding(Cause.CLOCK_WRONG, 0.97, (why, *lines), clock, about=pair.peer.name)
        yield Finding(Cause.PEER_RELAY_BLOCKED, 0.5 if problems and dated else 0.96, lines, fix, about=about)
    elif home:
        name = _region(pair, home)
        lines = (
            f"relay {name} is reached from here, and {pair.peer.name} does not answer by it",
            f"{pair.peer.name} may be gone, or its connection to that relay is dead or blocked",
            *_said(pair),
        )
        yield Finding(Cause.PEER_RELAY_BLOCKED, 0.6, lines, fix, about=name)
        if pair.theirs is None or pair.source is Source.MAP:
            yield Finding(Cause.PEER_OFFLINE, 0.85 if pair.peer.ours else 0.7, lines, fix)


def _said(pair: Pair) -> tuple[str, ...]:
    return (pair.silence,) if pair.silence else ()


def _region(pair: Pair, region: int) -> str:
    for relay in pair.host.relays:
        if relay.region == region:
            return relay.name
    return f"region {region}"
