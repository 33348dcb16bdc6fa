"""What `firewall open` changes, as values: each can be shown, done, written down and taken back.

Room: core. The record on disk holds these values and no command, so that nothing is run but what is written here.
"""

from __future__ import annotations

import re
import shlex
from typing import Annotated

import msgspec

from ginnel.core.firewall.backends import Backend, Blocked, Judged, position

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./+-]{0,63}")
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Argv = tuple[str, ...]


class CannotChange(Exception):
    """One line: what cannot be written as a change, and what to do."""


class UfwAllow(msgspec.Struct, frozen=True, tag="ufw"):
    port: Port


class FirewalldPort(msgspec.Struct, frozen=True, tag="firewalld"):
    """zone: "" the default one. permanent: for after a reload; else what is in force now."""

    port: Port
    zone: str
    permanent: bool


class NftAccept(msgspec.Struct, frozen=True, tag="nftables"):
    """before: handle of the rule that it stands before, 0: at the chain's end."""

    port: Port
    family: str
    table: str
    chain: str
    before: int
    comment: str


class IptablesAccept(msgspec.Struct, frozen=True, tag="iptables"):
    """program: iptables, ip6tables, iptables-legacy ... position: counted from 1."""

    port: Port
    program: str
    table: str
    chain: str
    position: int


Change = UfwAllow | FirewalldPort | NftAccept | IptablesAccept


class Record(msgspec.Struct, frozen=True):
    """port: that was opened. opened: RFC 3339. changes: in the order in which they were made. rolled_back: why the
    guard took them back, "" they stand. whole: all of them were made; else the command may have been cut off."""

    port: Port
    opened: str
    changes: tuple[Change, ...]
    rolled_back: str = ""
    version: int = 1
    whole: bool = False


def changes_for(judged: Judged, port: int, zone: str = "") -> tuple[Change, ...]:
    """Raises CannotChange."""
    got: list[Change] = []
    for blocked in judged.blocked:
        for change in change_of(blocked, port, zone):
            if change not in got:
                got.append(change)
    return tuple(got)


def change_of(blocked: Blocked, port: int, zone: str = "") -> tuple[Change, ...]:
    chain = blocked.spot.chain
    family, _, table = chain.table.partition(" ")
    match blocked.backend:
        case Backend.UFW:
            return (UfwAllow(port),)
        case Backend.FIREWALLD:
            return FirewalldPort(port, zone, permanent=False), FirewalldPort(port, zone, permanent=True)
        case Backend.IPTABLES:
            return (IptablesAccept(port, family, table, _name(chain.name), position(blocked.spot)),)
        case Backend.NFTABLES:
            before = blocked.spot.before.handle if blocked.spot.before is not None else 0
            return (NftAccept(port, family, _name(table), _name(chain.name), before, comment(port)),)


def comment(port: int) -> str:
    return f"ginnel: tunnel port {port}"


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise CannotChange(f"the firewall has a table or chain with an odd name, {text[:40]!r}: add the rule by hand")
    return text


# --- as commands -----------------------------------------------------------------------------------------------


def command(change: Change) -> Argv:
    match change:
        case UfwAllow(port):
            return "ufw", "allow", f"{port}/udp"
        case FirewalldPort():
            return _firewalld(change, "--add-port")
        case NftAccept():
            return _nft(change)
        case IptablesAccept():
            return (*_iptables(change, "-I"), str(change.position), *_match(change.port))


def check(change: Change) -> Argv | None:
    """A command that tries the change without making it."""
    match change:
        case NftAccept():
            return ("nft", "-c", *_nft(change)[1:])
        case UfwAllow():
            return "ufw", "--dry-run", "allow", f"{change.port}/udp"
    return None


def undo(change: Change, handle: int = 0) -> Argv:
    """handle: that nft has given the rule."""
    match change:
        case UfwAllow(port):
            return "ufw", "delete", "allow", f"{port}/udp"
        case FirewalldPort():
            return _firewalld(change, "--remove-port")
        case NftAccept():
            return "nft", "delete", "rule", change.family, change.table, change.chain, "handle", str(handle)
        case IptablesAccept():
            return (*_iptables(change, "-D"), *_match(change.port))


def asks(change: Change) -> Argv:
    """A command that tells whether the change stands: by its status, of ufw and nft by what it prints."""
    match change:
        case UfwAllow():
            return "ufw", "show", "added"
        case FirewalldPort():
            return _firewalld(change, "--query-port")
        case NftAccept():
            return "nft", "-j", "list", "chain", change.family, change.table, change.chain
        case IptablesAccept():
            return (*_iptables(change, "-C"), *_match(change.port))


def shown(argv: Argv) -> str:
    """As a user types it."""
    return "sudo " + shlex.join(argv)


def _firewalld(change: FirewalldPort, verb: str) -> Argv:
    permanent = ("--permanent",) if change.permanent else ()
    zone = (f"--zone={change.zone}",) if change.zone else ()
    return ("firewall-cmd", *permanent, *zone, f"{verb}={change.port}/udp")


def _nft(change: NftAccept) -> Argv:
    verb = ("insert",) if change.before else ("add",)
    at = ("handle", str(change.before)) if change.before else ()
    rule = ("udp", "dport", str(change.port), "accept", "comment", f'"{change.comment}"')
    return ("nft", *verb, "rule", change.family, change.table, change.chain, *at, *rule)


def _iptables(change: IptablesAccept, verb: str) -> Argv:
    return change.program, "-w", "5", "-t", change.table, verb, change.chain


def _match(port: int) -> Argv:
    return "-p", "udp", "-m", "udp", "--dport", str(port), "-m", "comment", "--comment", comment(port), "-j", "ACCEPT"
