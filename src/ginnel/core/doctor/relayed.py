"""Why two machines that meet by a relay have no direct way.

Room: core. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from ginnel.core.doctor.causes import Cause, Finding, Fix
from ginnel.core.doctor.evidence import Pair, Source
from ginnel.core.doctor.opening import Place, better
from ginnel.core.doctor.pair_views import (
    Nat,
    hard_here,
    hard_there,
    kind_of,
    open_fix,
    own_side,
    said_by_map,
    their_side,
)
from ginnel.wire.doctor import Testimony

ASKED_ENOUGH = 3  # pings to one endpoint without an answer


def udp(pair: Pair) -> Iterable[Finding]:
    theirs = pair.theirs
    if theirs is not None and theirs.udp is False:
        told = pair.source is not Source.MAP
        lines = (f"no STUN server answers {pair.peer.name}: UDP does not get out of its network{said_by_map(pair)}",)
        also = "in the firewall there: let UDP out, and the answers in"
        both = pair.own.udp is False
        fix = Fix(pair.peer.name, "ginnel firewall plan", also + ("; both ends need it" if both else ""))
        yield Finding(Cause.PEER_UDP_BLOCKED, 0.7 if not told else 0.9 if both else 0.93, lines, fix)


def nats(pair: Pair) -> Iterable[Finding]:
    """What two NATs come to is known (docs/nat-traversal.md); an open port or a port mapping changes it."""
    theirs = pair.theirs
    if theirs is None or pair.own.udp is False or theirs.udp is False or _mapped(pair.own) or _mapped(theirs):
        return
    here, there = kind_of(pair.own), kind_of(theirs, pair.own.peer_nat)
    lines = [f"{pair.host.name} is behind {here.value}", f"{pair.peer.name} is behind {there.value}{said_by_map(pair)}"]
    both = here.hard and there.hard and (here is not there or here is not Nat.SEQUENTIAL)
    if not (here.hard or there.hard):
        return
    if both:
        lines.append("neither can know at which port the other would answer, so one side must have an open port")
    else:
        lines.append(_why_not_guessed(pair))
    carriers = [side.name for side in (own_side(pair), their_side(pair)) if side.place is Place.CARRIER]
    if carriers:
        behind = (
            f"{' and '.join(carriers)}: a second NAT, the carrier's, stands behind the own router, which opens none"
        )
        yield Finding(Cause.CGNAT_DOUBLE_NAT, 0.96, (behind, *lines), open_fix(pair))
    elif perhaps := [side.name for side in (own_side(pair), their_side(pair)) if side.maybe_carrier]:
        behind = f"{' and '.join(perhaps)}: a second router with a private address: perhaps it translates as well"
        yield Finding(Cause.CGNAT_DOUBLE_NAT, 0.5, (behind, *lines), open_fix(pair))
    if both:
        yield Finding(Cause.HARD_NAT_BOTH, 0.93, tuple(lines), open_fix(pair))
    else:
        yield Finding(Cause.HARD_NAT_PAIR, 0.85, tuple(lines), open_fix(pair))


def _mapped(known: Testimony) -> bool:
    return known.port_map is not None and bool(known.port_map.external) and not known.port_map.double_nat


def _why_not_guessed(pair: Pair) -> str:
    if not pair.peer.ours:
        return f"{pair.peer.name} runs the official client, which does not search for ports"
    if not pair.own.guessing or (pair.theirs is not None and not pair.theirs.guessing):
        return "guessing ports is switched off by policy, or the link is a metered one"
    return "the search for a port that gets through found none"


def closed(pair: Pair) -> Iterable[Finding]:
    """A firewall of the machine itself that keeps uninvited packets out costs a direct path where the other side cannot
    be aimed at; that is the NAT's doing, and the firewall is what can be opened."""
    own, theirs = own_side(pair), their_side(pair)
    if Place.BLOCKED in (own.place, theirs.place):
        return
    first = better(own, theirs)
    for side, other, cause in ((own, theirs, Cause.HOST_FIREWALL), (theirs, own, Cause.PEER_HOST_FIREWALL)):
        if side.closed:
            rule = side.known.firewall.rule if side.known.firewall is not None else ""
            line = f"the firewall of {side.name} keeps uninvited UDP from port {side.port}" + (
                f": {rule}" if rule else ""
            )
            matters = _is_hard(pair, other is theirs)
            confidence = 0.5 if not matters else 0.96 if side is first else 0.6
            why = f"{other.name} comes from ports that nobody knows before, so all of it is uninvited"
            yield Finding(cause, confidence, (line, why) if matters else (line,), side.fix())


def _is_hard(pair: Pair, there: bool) -> bool:
    return hard_there(pair) if there else hard_here(pair)


def silence(pair: Pair) -> Iterable[Finding]:
    """Both can be aimed at, both were asked, and nothing came: a firewall takes the tunnel's packets. Whose, tells who
    else each end reaches."""
    own, theirs = pair.own, pair.theirs
    if own.udp is not True or theirs is None or theirs.udp is False or hard_here(pair) or hard_there(pair):
        return
    asked = sum(way.asked for way in own.ways)
    if asked < ASKED_ENOUGH:
        return
    heard_here, heard_there = (any(way.heard or way.answered for way in known.ways) for known in (own, theirs))
    lines = [
        f"{pair.host.name} sent {asked} pings to {len(own.ways)} addresses of {pair.peer.name}",
        f"{pair.peer.name} heard {'some' if heard_there else 'none'} of them{said_by_map(pair)}",
        f"{pair.host.name} heard {'pings' if heard_here else 'no ping'} of {pair.peer.name}",
    ]
    mine = 0.5 + 0.35 * (theirs.others_direct > 0) - 0.35 * (own.others_direct > 0)
    mine += 0.2 * (heard_here and not heard_there) - 0.2 * (heard_there and not heard_here)
    lines += [f"{name} has direct paths to other machines" for name, known in
              ((pair.host.name, own), (pair.peer.name, theirs)) if known.others_direct]  # fmt: skip
    what = f"in the firewall: let UDP out from port {own.port} to anywhere, and the answers in"
    fix = Fix(pair.host.name, "ginnel firewall plan", what)
    yield Finding(Cause.TUNNEL_PORT_BLOCKED, min(0.9, max(0.05, mine)), tuple(lines), fix)
    there = Fix(pair.peer.name, "ginnel firewall plan", what)
    yield Finding(Cause.PEER_TUNNEL_PORT_BLOCKED, min(0.9, max(0.05, 1 - mine)), tuple(lines), there)


def hairpin(pair: Pair) -> Iterable[Finding]:
    """One outside address, and no way inside."""
    theirs = pair.theirs
    if theirs is None or not pair.own.seen_v4:
        return
    same = pair.own.seen_v4.rpartition(":")[0] == theirs.seen_v4.rpartition(":")[0]
    if same and Place.PUBLIC not in (own_side(pair).place, their_side(pair).place):
        router = pair.own.seen_v4.rpartition(":")[0]
        lines = (
            f"both are behind the same router ({router}), and do not reach each other inside",
            "client isolation or a guest network parts them, and the router does not turn packets round (hairpin)",
        )
        fix = Fix(pair.host.name, "", "switch client isolation off, put both into one network, or hairpin NAT on")
        yield Finding(Cause.HAIRPIN, 0.9, lines, fix)
