"""Windows: netsh commands and the same in PowerShell.

Room: core. Windows keeps state, so answers pass; a rule that blocks wins over ours whatever the order, and everything
goes out unless the profile's default says block. Each run takes its own former rules away first. In a batch file a
comment may hold no percent sign: it would be read (cmd: `%~` in a `rem` is an error).

Checked: Wine's cmd runs the batch file before a netsh that writes its arguments down: each rule arrives whole, hostile
texts and 200 relays too. PowerShell's grammar reads the script in a test.
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.core.firewall.formats.format import Format
from ginnel.core.firewall.formats.notes import YOURS, commented, label, reasons, words
from ginnel.core.firewall.formats.targets import ANYWHERE, rows_of
from ginnel.core.firewall.needs import Need, Plan

ADDRESSES = 100  # to a rule: cmd reads 8,191 characters of a line


def netsh(plan: Plan) -> str:
    lines = ["@echo off", *(f"rem {words(text, 400)}" for text in NETSH.notes(plan))]
    for need in plan.needs:
        lines += [f"rem {words(text, 400)}" for text in reasons(need)]
        lines.append(f'netsh advfirewall firewall delete rule name="ginnel {need.id}"')
        lines += [_netsh_rule(need, remote) for remote in _remotes(need)]
    return "\r\n".join([*lines, ""])


def _netsh_rule(need: Need, remote: list[str]) -> str:
    parts = [f'netsh advfirewall firewall add rule name="ginnel {need.id}" dir={need.direction} action=allow']
    parts.append(f"profile=any protocol={need.transport}")
    if need.direction == "in":
        parts.append(f"localport={need.port}")
    else:
        parts.append(f"localport={need.source_port or 'any'} remoteport={need.port or 'any'}")
    parts.append(f"remoteip={','.join(remote)}")
    return " ".join([*parts, f'description="{label(need)}"'])


def _remotes(need: Need) -> Iterator[list[str]]:
    """Remote addresses, so many at a time."""
    found = rows_of(need)
    if not need.hosts:
        yield ["any"] if len(found) == 2 else [ANYWHERE[found[0].family]]
        return
    every = [str(address) for row in found for address in row.to]
    for first in range(0, len(every), ADDRESSES):
        yield every[first : first + ADDRESSES]


def powershell(plan: Plan) -> str:
    lines = commented("#", POWERSHELL.notes(plan))
    lines.append("Remove-NetFirewallRule -Group 'ginnel' -ErrorAction SilentlyContinue")
    for need in plan.needs:
        lines += commented("#", reasons(need))
        lines += [_new_rule(need, remote, n) for n, remote in enumerate(_remotes(need), 1)]
    return "\r\n".join([*lines, ""])


def _new_rule(need: Need, remote: list[str], number: int) -> str:
    side = "Outbound" if need.direction == "out" else "Inbound"
    parts = [f"New-NetFirewallRule -Group 'ginnel' -Name 'ginnel-{need.id}-{number}' -DisplayName 'ginnel {need.id}'"]
    parts.append(f"-Direction {side} -Action Allow -Profile Any -Protocol {need.transport.upper()}")
    if need.direction == "in":
        parts.append(f"-LocalPort {need.port}")
    else:
        parts.append(f"-LocalPort {need.source_port or 'Any'} -RemotePort {need.port or 'Any'}")
    told = ",".join("Any" if to == "any" else f"'{to}'" for to in remote)
    return " ".join([*parts, f"-RemoteAddress {told} -Description '{label(need)}'"])


def remarks(plan: Plan) -> Iterator[str]:  # noqa: ARG001
    yield "a rule of yours that blocks wins over these, whatever the order"
    yield YOURS


NETSH = Format(
    name="netsh",
    about="a batch file for Windows",
    level="L3",
    comment="rem",
    apply="save as ginnel.cmd and run it as administrator",
    body=netsh,
    again="each run deletes its own rules first, those named ginnel and no others",
    undo="run its lines that begin with netsh advfirewall firewall delete rule",
    remarks=remarks,
)
POWERSHELL = Format(
    name="powershell",
    about="New-NetFirewallRule, for Windows",
    level="L3",
    comment="#",
    apply="save as ginnel.ps1; as administrator: powershell -ExecutionPolicy Bypass -File ginnel.ps1",
    body=powershell,
    again="each run removes its own rules first, the group ginnel and no others",
    undo="Remove-NetFirewallRule -Group ginnel",
    remarks=remarks,
)
