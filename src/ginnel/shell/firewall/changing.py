"""Whether a change stands, and taking it back.

Room: shell.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ginnel.core.firewall import changes as change_of
from ginnel.core.firewall.changes import Change, FirewalldPort, IptablesAccept, NftAccept, UfwAllow
from ginnel.shell.firewall import ufw
from ginnel.shell.firewall.tools import ToolError, run, says_yes


def stands(change: Change) -> bool:
    """Whether it is there, by us or somebody else. Raises ToolError."""
    argv = change_of.asks(change)
    match change:
        case UfwAllow(port):
            return ufw.allows(port)
        case NftAccept():
            return bool(_handles(change))
        case FirewalldPort():
            return says_yes(argv)
    return says_yes(argv)


def _handles(change: NftAccept) -> list[int]:
    """nft's numbers of our rules in the chain."""
    try:
        listed: dict[str, Any] = json.loads(run(change_of.asks(change)))
    except (ToolError, ValueError):
        return []  # the table or chain is gone, and our rule with it
    rules = [each["rule"] for each in listed.get("nftables", []) if "rule" in each]
    return [rule["handle"] for rule in rules if rule.get("comment") == change.comment]


def take_back(changes: Sequence[Change]) -> tuple[Change, ...]:
    """In the other order; what does not stand any more is passed over. Raises ToolError after all were tried."""
    gone, problems = [], []
    for change in reversed(changes):
        try:
            if _removed(change):
                gone.append(change)
        except ToolError as error:
            problems.append(str(error))
    if problems:
        raise ToolError(problems[0])
    return tuple(gone)


def _removed(change: Change) -> bool:
    if isinstance(change, NftAccept):
        handles = _handles(change)
        for handle in handles:
            run(change_of.undo(change, handle))
        return bool(handles)
    if isinstance(change, UfwAllow):
        healed = ufw.heal(change.port)
    if not stands(change):
        return isinstance(change, UfwAllow) and healed
    run(change_of.undo(change))
    while isinstance(change, IptablesAccept) and stands(change):  # a second one, before what came to stand above it
        run(change_of.undo(change))
    return True


def complete(changes: Sequence[Change]) -> bool:
    """What ufw has only half made is made; whether there was such. Raises ToolError."""
    halves = [
        change for change in changes if isinstance(change, UfwAllow) and stands(change) and ufw.differ(change.port)
    ]
    for change in halves:
        run(change_of.command(change))  # adds it to the family that lacks it
        ufw.heal(change.port)
    return bool(halves)
