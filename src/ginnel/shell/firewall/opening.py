"""Opening the tunnel's port on this host, and closing it again.

Room: shell. The record is written before the first change, and the guard lives before it too: whatever dies when, what
was changed is known, and is taken back unless the whole was done.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec.structs import replace as replace_record

from ginnel.core.firewall import changes as change_of
from ginnel.core.firewall.backends import Backend, Judged, who_blocks
from ginnel.core.firewall.changes import (
    CannotChange,
    Change,
    FirewalldPort,
    IptablesAccept,
    NftAccept,
    Record,
    UfwAllow,
    changes_for,
)
from ginnel.core.firewall.lint.model import LintError
from ginnel.core.firewall.lint.trips import Where
from ginnel.shell.firewall import ufw, undo_record
from ginnel.shell.firewall.changing import complete, stands, take_back
from ginnel.shell.firewall.guard import Guard
from ginnel.shell.firewall.live import live_rules
from ginnel.shell.firewall.tools import ToolError, found, run, says_yes


class OpenError(Exception):
    """One line: what happened, why, what to do."""


@dataclass(frozen=True, slots=True)
class Opened:
    """changes: made, or that would be. already: the port is open without them. notes: lines for the user. still: what
    blocks it all the same."""

    changes: tuple[Change, ...] = ()
    already: bool = False
    notes: tuple[str, ...] = ()
    still: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """backend: "" the one whose rules decide. interface: by which the host reaches the internet, "" unknown. now: RFC
    3339. socket: the daemon's, which the guard watches."""

    port: int
    backend: Backend | None
    state: Path
    now: str
    socket: str
    interface: str = ""


def planned(wish: Wish) -> Opened:
    """What `open` would do. Raises OpenError."""
    try:
        if wish.backend is Backend.UFW:  # it knows its own way, whatever else decides
            _refuse_clash(wish.port)
            return _by_name((UfwAllow(wish.port),), _ufw_notes())
        if wish.backend is Backend.FIREWALLD:
            zone = _zone(wish.interface)
            ports = (FirewalldPort(wish.port, zone, permanent=False), FirewalldPort(wish.port, zone, permanent=True))
            return _by_name(ports, ())
        judged = who_blocks(live_rules(), wish.port, Where(wish.interface))
        if wish.backend is not None:
            judged = _of_one(judged, wish.backend)
        return _judged(judged, wish)
    except (ToolError, LintError, CannotChange) as error:
        raise OpenError(str(error)) from None


def _by_name(wanted: tuple[Change, ...], notes: tuple[str, ...]) -> Opened:
    missing = tuple(change for change in wanted if not stands(change))
    return Opened(missing, not missing, notes)


def _ufw_notes() -> tuple[str, ...]:
    if ufw.is_active():
        return ()
    return ("ufw is not active: the rule comes into force with `sudo ufw enable`",)


def _refuse_clash(port: int) -> None:
    """ufw would replace such a rule by ours, and not bring it back."""
    refused = ufw.refusal(port)
    if refused:
        raise OpenError(f"an administrator has refused this port on purpose: take back `{refused}` first")


def _zone(interface: str) -> str:
    """firewalld's, "" where the default one is meant."""
    if not interface:
        return ""
    try:
        zone = run(["firewall-cmd", f"--get-zone-of-interface={interface}"]).strip()
        return "" if zone == run(["firewall-cmd", "--get-default-zone"]).strip() else zone
    except ToolError:  # in no zone of its own
        return ""


def _of_one(judged: Judged, backend: Backend) -> Judged:
    mine = tuple(blocked for blocked in judged.blocked if blocked.backend is backend)
    if judged.blocked and not mine:
        other = judged.blocked[0]
        raise OpenError(
            f"{backend} is not what stops the port but {other.backend} ({other.by.chain.where}: {other.by.text}); "
            "leave --backend out"
        )
    return Judged(mine, judged.doubts)


def _judged(judged: Judged, wish: Wish) -> Opened:
    if not judged.blocked and judged.doubts:
        raise OpenError(
            f"not clear whether the firewall lets UDP {wish.port} in ({judged.doubts[0]}); nothing was changed: "
            "look with `ginnel firewall lint`, or add the rule by hand"
        )
    backends = {blocked.backend for blocked in judged.blocked}
    if Backend.UFW in backends:
        _refuse_clash(wish.port)
    zone = _zone(wish.interface) if Backend.FIREWALLD in backends else ""
    wanted = tuple(change for change in changes_for(judged, wish.port, zone) if _adds(change))
    notes = tuple(dict.fromkeys(f"it was blocked by {b.by.chain.where}: {b.by.text}" for b in judged.blocked))
    if any(isinstance(change, NftAccept) for change in wanted):
        notes += ("the rule is gone after a restart of the firewall: put it into /etc/nftables.conf to keep it",)
    return Opened(wanted, not judged.blocked, notes)


def _adds(change: Change) -> bool:
    """ufw and firewalld put a rule where they think fit, and once. One of ours that stands behind what blocks does not
    help: another goes before that."""
    return isinstance(change, NftAccept | IptablesAccept) or not stands(change)


def guess() -> Backend:
    """For `--dry-run` of somebody who may not see the rules: by what is installed and switched on. Raises OpenError."""
    try:
        if "ENABLED=yes" in Path("/etc/ufw/ufw.conf").read_text():
            return Backend.UFW
    except OSError:
        pass
    if found("firewall-cmd") and says_yes(["firewall-cmd", "--state"]):
        return Backend.FIREWALLD
    raise OpenError("only root sees which firewall decides: repeat the command with sudo, or name it with --backend")


def open_port(wish: Wish) -> Opened:
    """Raises OpenError with nothing changed."""
    _must_be_root()
    with undo_record.turn(wish.state):
        return _open_port(wish)


def _open_port(wish: Wish) -> Opened:
    found_before = _recorded(wish)
    mended = _mended(found_before)
    plan = planned(wish)
    if not plan.changes:
        if found_before is not None and mended:
            _written(wish, replace_record(found_before, changes=_kept(found_before), whole=True))
        return _looked_at(replace(plan, notes=(*mended, *plan.notes)), wish)
    if found_before is not None and found_before.rolled_back:
        mended += (f"the last time it was taken back: {found_before.rolled_back}",)
    kept = _kept(found_before)
    try:
        for change in plan.changes:
            checked = change_of.check(change)
            if checked is not None:
                run(checked)
        path = _written(wish, Record(wish.port, wish.now, (*kept, *plan.changes)))
    except (ToolError, undo_record.RecordError) as error:
        raise OpenError(f"{error}; nothing was changed") from None
    _apply(plan.changes, path, wish, kept)
    return _looked_at(replace(plan, notes=(*mended, *plan.notes)), wish)


def _mended(before: Record | None) -> tuple[str, ...]:
    """What an earlier `open` has left half done is made whole, as far as it was made. Lines for the user."""
    if before is None or before.rolled_back or before.whole:
        return ()
    try:
        by_ufw = complete(before.changes)
    except ToolError as error:
        raise OpenError(f"an earlier `open` was cut off, and that cannot be mended: {error}") from None
    return ("an earlier `open` was cut off" + (" while ufw worked: it was made to finish" if by_ufw else ""),)


def _looked_at(got: Opened, wish: Wish) -> Opened:
    return replace(got, still=_left_over(wish), already=got.already)


def _kept(before: Record | None) -> tuple[Change, ...]:
    """What an earlier `open` has written down and still stands: it is needed beside what is new, and is `close`'s to
    take back. Where the firewall was reloaded meanwhile, that is nothing."""
    if before is None or before.rolled_back:
        return ()
    try:
        return tuple(change for change in before.changes if stands(change))
    except ToolError as error:
        raise OpenError(f"{error}; nothing was changed") from None


def _written(wish: Wish, record: Record) -> Path:
    """In place of an earlier one. Raises RecordError."""
    path = undo_record.path_of(wish.state, wish.port)
    with undo_record.held(path) as before:
        if before is not None:
            undo_record.replace(path, record)
            return path
    return undo_record.create(wish.state, record)


def _left_over(wish: Wish) -> tuple[str, ...]:
    """Where it is blocked still: by a rule above ours that ufw or firewalld has, or by another firewall."""
    try:
        left = who_blocks(live_rules(), wish.port, Where(wish.interface)).blocked
    except (ToolError, LintError):
        return ()
    return tuple(dict.fromkeys(f"{b.by.chain.where}: {b.by.text}" for b in left))


def _recorded(wish: Wish) -> Record | None:
    """Behind a guard that is taking back what it names."""
    try:
        with undo_record.held(undo_record.path_of(wish.state, wish.port)) as record:
            return record
    except undo_record.RecordError as error:
        raise OpenError(str(error)) from None


def _apply(wanted: Sequence[Change], path: Path, wish: Wish, kept: tuple[Change, ...]) -> None:
    try:
        guard = Guard.start(path, wish.socket)
    except OSError as error:
        if kept:
            undo_record.replace(path, Record(wish.port, wish.now, kept))
        else:
            path.unlink()
        raise OpenError(f"the guard that takes rules back cannot be started: {error}; nothing was changed") from None
    with guard:
        try:
            for change in wanted:
                run(change_of.command(change))
        except ToolError as error:
            left = "what an earlier `open` had let in is shut as well" if kept else "nothing was changed"
            if not guard.give_up():  # it takes back what was done
                left = "what was changed by then could not be taken back: run `sudo ginnel firewall close`"
            raise OpenError(f"{error}; {left}") from None
        undo_record.replace(path, Record(wish.port, wish.now, (*kept, *wanted), whole=True))
        guard.done()


def recorded(state: Path) -> list[int]:
    """The ports that `open` has opened and nobody closed. Raises OpenError."""
    _must_be_root()
    try:
        return undo_record.recorded_ports(state)
    except undo_record.RecordError as error:
        raise OpenError(str(error)) from None


def close_port(state: Path, port: int) -> tuple[tuple[Change, ...], str]:
    """(what was taken back, why the guard had done so before or ""). Raises OpenError; the record then stays."""
    _must_be_root()
    path = undo_record.path_of(state, port)
    try:
        with undo_record.turn(state), undo_record.held(path) as record:
            if record is None:
                return (), ""
            gone = take_back(record.changes) if not record.rolled_back else ()
            path.unlink()
            return gone, record.rolled_back
    except (ToolError, undo_record.RecordError) as error:
        raise OpenError(str(error)) from None


def _must_be_root() -> None:
    if os.geteuid() != 0:
        raise OpenError("only root may change this host's firewall: repeat the command with sudo")
