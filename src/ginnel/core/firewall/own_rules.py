"""What this host's own rules do to the mesh: to uninvited packets, to what must get out, and to what runs inside the
tunnel.

Room: core. For the doctor. A rule that stops some of it (all but port 22, say) is somebody's choice and no finding:
only what is stopped altogether is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ginnel.core.firewall.backends import Backend, Judged, owner, who_blocks
from ginnel.core.firewall.changes import NAME, CannotChange, changes_for, command, shown
from ginnel.core.firewall.lint.fields import Field
from ginnel.core.firewall.lint.ints import Ints, joined, point
from ginnel.core.firewall.lint.judge import stopped_by
from ginnel.core.firewall.lint.model import RuleSet
from ginnel.core.firewall.lint.trips import Family, Trip, Where, remotes, trips
from ginnel.core.firewall.lint.walk import Decided
from ginnel.core.firewall.needs import Need
from ginnel.core.node.addresses import TAILNET_V4, TAILNET_V6
from ginnel.words import IpAddress

OUTWARD = (Need("https", "out", "tcp", None, 443), Need("stun", "out", "udp", None, 3478))
INSIDE_OUT = Need("inside-out", "out", "tcp", None, None)
INSIDE_IN = Need("inside-in", "in", "tcp", None, None)


@dataclass(frozen=True, slots=True)
class Stopped:
    """need: https, stun, tunnel, inside-out or inside-in. rule: that stops all of it. opens: the command that lets it
    through, "" where it takes more than one."""

    need: str
    rule: str
    opens: str = ""


@dataclass(frozen=True, slots=True)
class OwnRules:
    """closed: whether uninvited packets are kept from the tunnel's port; None: could not be told. backend: whose rules
    they are that stop something, "none" where nothing does. rule: the one that closes. opens: the command that lets
    uninvited packets in, "" for none."""

    closed: bool | None
    backend: str = "none"
    rule: str = ""
    opens: str = ""
    stopped: tuple[Stopped, ...] = ()


def own_rules(rules: RuleSet, port: int, where: Where, tunnel: str, mesh: Sequence[IpAddress]) -> OwnRules:
    """where: the way to the internet. tunnel: the mesh's interface, and this host's addresses in it."""
    judged = who_blocks(rules, port, where)
    closers = [blocked.by for blocked in judged.blocked]
    out = [(need.id, by) for need in (*OUTWARD, Need("tunnel", "out", "udp", port, None))
           if (by := _stopped(rules, need, 4, where, remotes(need, 4)[0])) is not None]  # fmt: skip
    inside = list(_inside(rules, tunnel, mesh))
    by = next(iter([*closers, *(by for _, by in (*out, *inside))]), None)
    return OwnRules(
        True if closers else None if judged.doubts else False,
        str(owner(by.chain, rules)) if by is not None else "none",
        _quoted(closers[0]) if closers else "",
        opening(judged, port) if closers else "",
        (*(Stopped(need, _quoted(by)) for need, by in out),
         *(Stopped(need, _quoted(by), _opens(need, by, rules, tunnel)) for need, by in inside)),
    )  # fmt: skip


def opening(judged: Judged, port: int) -> str:
    """One command, as a user types it."""
    try:
        commands = [shown(command(change)) for change in changes_for(judged, port)]
    except CannotChange:
        commands = []
    return commands[0] if len(commands) == 1 else f"sudo ginnel firewall open --port {port}"


def _quoted(by: Decided) -> str:
    return f"{by.text} ({by.chain.where})"


# --- inside the tunnel -----------------------------------------------------------------------------------------


def _inside(rules: RuleSet, tunnel: str, mesh: Sequence[IpAddress]) -> Iterator[tuple[str, Decided]]:
    """What this host's programs send into the tunnel, and what comes out of it for them; by IPv4, if there is any."""
    families: list[Family] = [4] if any(ip.version == 4 for ip in mesh) else [6] if mesh else []
    for family in families:
        for need in (INSIDE_OUT, INSIDE_IN):
            by = _stopped(rules, need, family, Where(tunnel, tuple(mesh)), _range(family), inner=True)
            if by is not None:
                yield need.id, by


def _stopped(
    rules: RuleSet, need: Need, family: Family, where: Where, remote: Ints, *, inner: bool = False
) -> Decided | None:
    if family not in rules.families:
        return None
    legs = trips(need, family, where, remote)
    return stopped_by(rules, map(_of_any_program, legs) if inner else legs)


def _range(family: Family) -> Ints:
    network = TAILNET_V4 if family == 4 else TAILNET_V6
    return joined([(int(network.network_address), int(network.broadcast_address))])


def _of_any_program(leg: Trip) -> Trip:
    """Not of the daemon's own sockets."""
    box = {field: values for field, values in leg.box.items() if field != Field.SOCKET_UID}
    return replace(leg, box={**box, Field.MARK: point(0)})


def _opens(need: str, by: Decided, rules: RuleSet, tunnel: str) -> str:
    """By what `by` stands in; its own chain's head is where an accept counts."""
    inward = need == INSIDE_IN.id
    family, _, table = by.chain.table.partition(" ")
    if not (NAME.fullmatch(table) and NAME.fullmatch(by.chain.name) and NAME.fullmatch(tunnel)):
        return ""
    argv: tuple[str, ...]
    match owner(by.chain, rules):
        case Backend.UFW:
            argv = ("ufw", "allow", "in" if inward else "out", "on", tunnel)
        case Backend.FIREWALLD:
            argv = ("firewall-cmd", "--zone=trusted", f"--add-interface={tunnel}")
        case Backend.IPTABLES:
            argv = (family, "-I", by.chain.name, "-i" if inward else "-o", tunnel, "-j", "ACCEPT")
        case Backend.NFTABLES:
            side = "iifname" if inward else "oifname"
            argv = ("nft", "insert", "rule", family, table, by.chain.name, side, tunnel, "accept")
    return shown(argv)
