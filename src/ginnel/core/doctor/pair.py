"""Why two machines are relayed, or do not meet at all: the evidence of both ends, joined.

Room: core. Pure. Each rule finds one cause, or nothing; what ails this machine alone is host.py's.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable

from ginnel.core.doctor.causes import Cause, Finding, Fix
from ginnel.core.doctor.evidence import Pair, Source
from ginnel.core.doctor.own_firewall import of_peer
from ginnel.core.doctor.pair_views import is_direct, meets
from ginnel.core.doctor.relayed import closed, hairpin, nats, silence, udp
from ginnel.core.doctor.unreachable import no_relay
from ginnel.core.node.constants import FULL_SIZE, SHUNNED_MAX
from ginnel.core.node.path_history import What
from ginnel.wire.doctor import Step, Testimony

UNFILTERED = (
    "the relay carries the data, so speed is all that is lost; another port may pass (`ginneld --port 443`), or who "
    "runs the network lets WireGuard through"
)
HEADERS = 28  # IPv4's and UDP's
HELD = 30.0  # seconds that a way is in use, and large packets would have been missed by now
SESSION_ENDS = 180.0  # seconds (WireGuard paper §6.1: Reject-After-Time)


def pair_findings(pair: Pair) -> list[Finding]:
    """In no order; `ranked` has that."""
    rules: list[Callable[[Pair], Iterable[Finding]]] = [_peer, _policy, _sizes, _silent_tunnel, of_peer]
    if not meets(pair):
        rules += [no_relay]
    if not is_direct(pair):
        rules += [_path_policy, _shunned]
        if meets(pair):
            rules += [udp, nats, closed, silence, hairpin]
    return [finding for rule in rules for finding in rule(pair)]


def _peer(pair: Pair) -> Iterable[Finding]:
    peer = pair.peer
    if peer.expired:
        lines = (f"the key of {peer.name} has expired: nobody talks to it until somebody logs in there again",)
        yield Finding(Cause.PEER_KEY_EXPIRED, 0.97, lines, Fix(peer.name, "sudo ginnel up --force-reauth"))
    elif peer.online is False and not meets(pair):
        lines = (f"{peer.name} is not connected to the server: it is switched off, asleep or cut off",)
        yield Finding(Cause.PEER_OFFLINE, 0.93, lines, Fix(peer.name, "ginnel doctor"))


def _policy(pair: Pair) -> Iterable[Finding]:
    if pair.theirs is not None and pair.theirs.lets_in is False:
        lines = (f"the packet filter of {pair.peer.name} has no rule that lets {pair.host.name} in",)
        fix = Fix("the server", "ginnel policy get", f"let {pair.host.name} reach {pair.peer.name}, if that is wanted")
        yield Finding(Cause.POLICY_DENIES, 0.9, lines, fix)


def _path_policy(pair: Pair) -> Iterable[Finding]:
    for side, other, policy in (
        (pair.host.name, pair.peer.name, pair.own.policy),
        (pair.peer.name, pair.host.name, pair.theirs.policy if pair.theirs is not None else "auto"),
    ):
        lines = (f"`ginnel path` on {side} says `{policy}` for {other}",)
        fix = Fix(side, f"sudo ginnel path {shlex.quote(other)} auto")
        if policy == "relay":
            yield Finding(Cause.PATH_POLICY_RELAY, 0.97, lines, fix)
        elif policy == "direct":
            yield Finding(
                Cause.PATH_POLICY_DIRECT,
                0.95 if side == pair.host.name else 0.7,
                (*lines, "no direct path was found, and relays are forbidden"),
                fix,
            )


def _sizes(pair: Pair) -> Iterable[Finding]:
    yield from _convicted(pair, "loses large packets", Cause.MTU_HOLE, "a link on the way loses large packets")


def _shunned(pair: Pair) -> Iterable[Finding]:
    yield from _convicted(
        pair,
        "carries no data",
        Cause.WIREGUARD_FILTERED,
        "something on the way lets pings pass and takes WireGuard away",
    )


def _silent_tunnel(pair: Pair) -> Iterable[Finding]:
    """Pings of disco prove an address and no more. The peer was asked through the tunnel, so WireGuard has shaken
    hands, unless it cannot."""
    known = pair.own.handshake
    if not pair.ping.direct or not pair.peer.ours or pair.source is Source.TUNNEL:
        return
    if known is None or known > SESSION_ENDS:
        shaken = "never" if known is None else f"{known:.0f} s ago for the last time"
        said = pair.silence or "no answer"
        lines = (
            f"pings pass by {pair.ping.direct}, and {pair.peer.name} was asked through the tunnel: {said}",
            f"WireGuard's handshake succeeded {shaken}: something on the way may take its packets away",
        )
        yield Finding(Cause.WIREGUARD_FILTERED, 0.6, lines, Fix(pair.host.name, "", UNFILTERED))


def _convicted(pair: Pair, fault: str, cause: Cause, means: str) -> Iterable[Finding]:
    for name, known in ((pair.host.name, pair.own), (pair.peer.name, pair.theirs)):
        told = [way.endpoint for way in (known.ways if known is not None else ()) if way.shunned == fault]
        told += _lately(known.story, fault) if known is not None and not _refuted(known, cause) else []
        if told:
            lines = (f"{name} gave up the direct way by {told[0]}: it {fault}", means)
            also = "find the link with the small MTU and mend it, or let ICMP `fragmentation needed` pass"
            small = cause is Cause.MTU_HOLE
            fix = Fix(pair.host.name, "ip link", also) if small else Fix(pair.host.name, "", UNFILTERED)
            yield Finding(cause, 0.93, lines, fix)
            return


def _refuted(known: Testimony, cause: Cause) -> bool:
    """Large packets are known to pass by the way in use."""
    return cause is Cause.MTU_HOLE and bool(known.direct) and known.wire_mtu >= FULL_SIZE + HEADERS


def _lately(story: tuple[Step, ...], fault: str) -> list[str]:
    """Ways given up for it not long ago, and none held since for a while: old stories are no fault. A way is tried
    again when its sentence ends, so that one was taken just now says little."""
    held = max((n for n, step in enumerate(story) if step.what == What.DIRECT and step.ago > HELD), default=-1)
    return [step.endpoint for step in story[held + 1 :] if step.why == fault and step.ago <= SHUNNED_MAX]


def unexplained(pair: Pair, *, searching: bool) -> Iterable[Finding]:
    """Something is wrong, and nothing that was looked at says what: likely places to look, and no more than that."""
    here, there = pair.host.name, pair.peer.name
    if not meets(pair):
        gone = (f"{there} does not answer, by any way", pair.silence or "it says nothing of itself")
        yield Finding(Cause.PEER_OFFLINE, 0.4, gone, Fix(there, "ginnel doctor"))
        return
    if searching:
        return
    lines = ("no direct way was found, and neither end's network shows why", pair.silence or "both ends were asked")
    also = "in the firewall: let UDP out from the tunnel's port to anywhere, and the answers in"
    yield Finding(Cause.PEER_TUNNEL_PORT_BLOCKED, 0.35, lines, Fix(there, "ginnel firewall plan", also))
    yield Finding(Cause.TUNNEL_PORT_BLOCKED, 0.35, lines, Fix(here, "ginnel firewall plan", also))
