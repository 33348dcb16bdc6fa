"""Why two machines are relayed, or do not meet at all: the evidence of both ends, joined.

Room: core. Pure. Each rule finds one cause, or nothing; what ails this machine alone is host.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum

from ginnel.core.doctor.causes import Cause, Finding, Fix
from ginnel.core.doctor.evidence import Pair, Source
from ginnel.core.doctor.opening import Place, Side, better
from ginnel.wire.doctor import Testimony

SEARCH_TIME = 25.0
"""Seconds in which a search through a hard NAT ends (docs/nat-traversal.md: 20 s); before that nobody is to blame."""

ASKED_ENOUGH = 3  # pings to one endpoint without an answer


def pair_findings(pair: Pair) -> list[Finding]:
    """In no order; `ranked` has that."""
    rules: list[Callable[[Pair], Iterable[Finding]]] = [_peer, _policy, _sizes]
    if not _meets(pair):
        rules += [_no_relay]
    if not is_direct(pair):
        rules += [_path_policy, _shunned]
        if _meets(pair):
            rules += [_udp, _nats, _closed, _silence, _hairpin]
    return [finding for rule in rules for finding in rule(pair)]


# --- views -----------------------------------------------------------------------------------------------------------


def is_direct(pair: Pair) -> bool:
    return bool(pair.own.direct or pair.ping.direct)


def _meets(pair: Pair) -> bool:
    return pair.ping.answered


def still_searching(pair: Pair) -> bool:
    """Too early to say: a direct path is looked for, and may be found."""
    return pair.own.searching is not None and pair.own.searching < SEARCH_TIME and pair.own.search_ended != "hopeless"


def _own(pair: Pair) -> Side:
    return Side(pair.host.name, pair.own)


def _theirs(pair: Pair) -> Side:
    known = pair.theirs if pair.theirs is not None else Testimony()
    return Side(pair.peer.name, known, told=pair.theirs is not None and pair.source is not Source.MAP)


def _open_fix(pair: Pair) -> Fix:
    return better(_own(pair), _theirs(pair)).fix()


def _said(pair: Pair) -> str:
    return "" if pair.source is not Source.MAP else f" (from {pair.source}: {pair.silence or 'it says nothing itself'})"


# --- the peer --------------------------------------------------------------------------------------------------------


def _peer(pair: Pair) -> Iterable[Finding]:
    peer = pair.peer
    if peer.expired:
        lines = (f"the key of {peer.name} has expired: nobody talks to it until somebody logs in there again",)
        yield Finding(Cause.PEER_KEY_EXPIRED, 0.97, lines, Fix(peer.name, "sudo ginnel up --force-reauth"))
    elif peer.online is False and not _meets(pair):
        lines = (f"{peer.name} is not connected to the server: it is switched off, asleep or without a network",)
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
        fix = Fix(side, f"sudo ginnel path {other} auto")
        if policy == "relay":
            yield Finding(Cause.PATH_POLICY_RELAY, 0.97, lines, fix)
        elif policy == "direct":
            yield Finding(
                Cause.PATH_POLICY_DIRECT, 0.7, (*lines, "no direct path was found, and relays are forbidden"), fix
            )


# --- no way at all ---------------------------------------------------------------------------------------------------


def _no_relay(pair: Pair) -> Iterable[Finding]:
    """Neither direct nor by a relay: each end hears by its home relay, so the other must reach that one."""
    if pair.peer.online is False or pair.peer.expired:
        return
    home = pair.theirs.home if pair.theirs is not None and pair.theirs.home else pair.peer.home
    here = {relay.region: relay for relay in pair.own.relays}
    mine, name = here.get(home), _region(pair, home)
    if home and (mine is None or not mine.connected):
        why = mine.problem if mine is not None and mine.problem else "it is not connected"
        lines = (f"{pair.peer.name} listens at relay {name}, which this machine does not reach: {why}",)
        also = f"let TCP out to port 443 of relay {name}"
        yield Finding(Cause.RELAY_BLOCKED, 0.8, lines, Fix(pair.host.name, "ginnel firewall verify", also), about=name)
    if pair.theirs is not None and not any(relay.connected for relay in pair.theirs.relays) and pair.theirs.relays:
        lines = (f"{pair.peer.name} is connected to no relay",)
        yield Finding(Cause.PEER_RELAY_BLOCKED, 0.85, lines, Fix(pair.peer.name, "ginnel doctor"))
    elif home and mine is not None and mine.connected:
        lines = (f"relay {name} is reached from here, and {pair.peer.name} does not answer by it",)
        yield Finding(Cause.PEER_RELAY_BLOCKED, 0.7, lines, Fix(pair.peer.name, "ginnel doctor"), about=name)
    if home and pair.own.home and home != pair.own.home and not (mine is not None and mine.connected):
        lines = (f"this machine's relay is {_region(pair, pair.own.home)}, that of {pair.peer.name} is {name}",)
        yield Finding(Cause.NO_COMMON_RELAY, 0.5, lines, Fix(pair.host.name, "ginnel firewall verify"))


def _region(pair: Pair, region: int) -> str:
    for relay in pair.host.relays:
        if relay.region == region:
            return relay.name
    return f"region {region}"


# --- relayed ---------------------------------------------------------------------------------------------------------


def _sizes(pair: Pair) -> Iterable[Finding]:
    yield from _convicted(pair, "loses large packets", Cause.MTU_HOLE, "a link on the way loses large packets")


def _shunned(pair: Pair) -> Iterable[Finding]:
    yield from _convicted(
        pair,
        "carries no data",
        Cause.WIREGUARD_FILTERED,
        "something on the way lets pings pass and takes WireGuard away",
    )


def _convicted(pair: Pair, fault: str, cause: Cause, means: str) -> Iterable[Finding]:
    for name, known in ((pair.host.name, pair.own), (pair.peer.name, pair.theirs)):
        told = [way.endpoint for way in (known.ways if known is not None else ()) if way.shunned == fault]
        told += [step.endpoint for step in (known.story if known is not None else ()) if step.why == fault]
        if told:
            lines = (f"{name} gave up the direct way by {told[0]}: it {fault}", means)
            also = "find the link with the small MTU and mend it, or let ICMP `fragmentation needed` pass"
            fix = Fix(pair.host.name, "ip link", also) if cause is Cause.MTU_HOLE else Fix(pair.host.name, "", means)
            yield Finding(cause, 0.93, lines, fix)
            return


def _udp(pair: Pair) -> Iterable[Finding]:
    theirs = pair.theirs
    if theirs is not None and theirs.udp is False:
        told = pair.source is not Source.MAP
        lines = (f"no STUN server answers {pair.peer.name}: UDP does not get out of its network{_said(pair)}",)
        fix = Fix(pair.peer.name, "ginnel firewall plan", "in the firewall there: let UDP out, and the answers in")
        yield Finding(Cause.PEER_UDP_BLOCKED, 0.93 if told else 0.7, lines, fix)


def _nats(pair: Pair) -> Iterable[Finding]:
    """What two NATs come to is known (docs/nat-traversal.md); an open port or a port mapping changes it."""
    theirs = pair.theirs
    if theirs is None or pair.own.udp is False or theirs.udp is False or _mapped(pair.own) or _mapped(theirs):
        return
    here, there = kind_of(pair.own), kind_of(theirs, pair.own.peer_nat)
    lines = [f"{pair.host.name} is behind {here.value}", f"{pair.peer.name} is behind {there.value}{_said(pair)}"]
    if here.hard and there.hard and Nat.SEQUENTIAL not in (here, there):
        lines.append("neither can know at which port the other would answer, so one side must have an open port")
        yield Finding(Cause.HARD_NAT_BOTH, 0.95, tuple(lines), _open_fix(pair))
    elif here.hard and there.hard and here is not there:
        lines.append("a port that is guessed right is another one by then, so one side must have an open port")
        yield Finding(Cause.HARD_NAT_BOTH, 0.93, tuple(lines), _open_fix(pair))
    elif (here.hard or there.hard) and not still_searching(pair):
        lines.append(_why_not_guessed(pair))
        yield Finding(Cause.HARD_NAT_PAIR, 0.85, tuple(lines), _open_fix(pair))
    else:
        return
    if Place.CARRIER in (_own(pair).place, _theirs(pair).place):
        name = pair.host.name if _own(pair).place is Place.CARRIER else pair.peer.name
        carrier = (f"{name} is behind a second NAT, its carrier's, which no setting of its own router opens", *lines)
        yield Finding(Cause.CGNAT_DOUBLE_NAT, 0.6, carrier, _open_fix(pair))


class Nat(Enum):
    """What a NAT does, in words for people."""

    EASY = "an easy NAT (one port for all destinations)"
    SEQUENTIAL = "a hard NAT (the next port for each destination)"
    RANDOM = "a hard NAT (another port for each destination)"
    UNKNOWN = "a NAT of unknown kind"

    @property
    def hard(self) -> bool:
        return self in (Nat.SEQUENTIAL, Nat.RANDOM)


def kind_of(known: Testimony, told: str = "unknown") -> Nat:
    """told: what the other end learnt of it. The search's own look is the best; net checks need two STUN addresses."""
    for kind in (known.nat, told):
        if kind in ("easy", "sequential", "random"):
            return Nat[kind.upper()]
    if known.varies is not None:
        return Nat.RANDOM if known.varies else Nat.EASY
    port = known.seen_v4.rpartition(":")[2]
    return Nat.EASY if port and port == str(known.port) else Nat.UNKNOWN


def _mapped(known: Testimony) -> bool:
    return known.port_map is not None and bool(known.port_map.external) and not known.port_map.double_nat


def _why_not_guessed(pair: Pair) -> str:
    if not pair.peer.ours:
        return f"{pair.peer.name} runs the official client, which does not search for ports"
    if not pair.own.guessing or (pair.theirs is not None and not pair.theirs.guessing):
        return "guessing ports is switched off by policy, or the link is a metered one"
    return "the search for a port that gets through found none"


def _hard_here(pair: Pair) -> bool:
    return kind_of(pair.own).hard


def _hard_there(pair: Pair) -> bool:
    return pair.theirs is not None and kind_of(pair.theirs, pair.own.peer_nat).hard


def _closed(pair: Pair) -> Iterable[Finding]:
    """A firewall of the machine itself that keeps uninvited packets out costs a direct path where the other side cannot
    be aimed at."""
    if still_searching(pair) and not (_hard_here(pair) and _hard_there(pair)):
        return
    own, theirs = _own(pair), _theirs(pair)
    for side, other, cause in ((own, theirs, Cause.HOST_FIREWALL), (theirs, own, Cause.PEER_HOST_FIREWALL)):
        if side.closed and side.place is not Place.BLOCKED and other.place is not Place.BLOCKED:
            rule = side.known.firewall.rule if side.known.firewall is not None else ""
            lines = [
                f"the firewall of {side.name} keeps uninvited UDP from port {side.port}" + (f": {rule}" if rule else "")
            ]
            confidence = 0.5 + 0.2 * kind_of(other.known).hard + 0.15 * (side.place is Place.PUBLIC)
            yield Finding(cause, confidence, tuple(lines), side.fix())


def _silence(pair: Pair) -> Iterable[Finding]:
    """Both can be aimed at, both were asked, and nothing came: a firewall takes the tunnel's packets. Whose, tells who
    else each end reaches."""
    own, theirs = pair.own, pair.theirs
    if (
        own.udp is not True
        or theirs is None
        or theirs.udp is False
        or still_searching(pair)
        or own.varies
        or theirs.varies
    ):
        return
    if _hard_here(pair) or _hard_there(pair):
        return
    asked = sum(way.asked for way in own.ways)
    if asked < ASKED_ENOUGH:
        return
    heard_here, heard_there = (any(way.heard or way.answered for way in known.ways) for known in (own, theirs))
    lines = [
        f"{pair.host.name} sent {asked} pings to {len(own.ways)} addresses of {pair.peer.name}",
        f"{pair.peer.name} heard {'some' if heard_there else 'none'} of them{_said(pair)}",
        f"{pair.host.name} heard {'pings' if heard_here else 'no ping'} of {pair.peer.name}",
    ]
    mine = (
        0.5
        + 0.35 * (theirs.others_direct > 0)
        - 0.35 * (own.others_direct > 0)
        + 0.2 * (heard_here and not heard_there)
    )
    mine -= 0.2 * (heard_there and not heard_here)
    lines += [f"{name} has direct paths to other machines" for name, known in
              ((pair.host.name, own), (pair.peer.name, theirs)) if known.others_direct]  # fmt: skip
    what = f"in the firewall: let UDP out from port {own.port} to anywhere, and the answers in"
    fix = Fix(pair.host.name, "ginnel firewall plan", what)
    yield Finding(Cause.TUNNEL_PORT_BLOCKED, min(0.9, max(0.05, mine)), tuple(lines), fix)
    there = Fix(pair.peer.name, "ginnel firewall plan", what)
    yield Finding(Cause.PEER_TUNNEL_PORT_BLOCKED, min(0.9, max(0.05, 1 - mine)), tuple(lines), there)


def _hairpin(pair: Pair) -> Iterable[Finding]:
    """One outside address, and no way inside."""
    theirs = pair.theirs
    if theirs is None or not pair.own.seen_v4 or still_searching(pair):
        return
    same = pair.own.seen_v4.rpartition(":")[0] == theirs.seen_v4.rpartition(":")[0]
    if same and Place.PUBLIC not in (_own(pair).place, _theirs(pair).place):
        router = pair.own.seen_v4.rpartition(":")[0]
        lines = (
            f"both are behind the same router ({router}), and do not reach each other inside",
            "client isolation or a guest network parts them, and the router does not turn packets round (hairpin)",
        )
        fix = Fix(pair.host.name, "", "switch client isolation off, put both into one network, or hairpin NAT on")
        yield Finding(Cause.HAIRPIN, 0.9, lines, fix)
