"""`ginnel firewall`: what a firewall must let through, from the live mesh: planned, written, applied, kept and judged.

Room: cli. Like the table of all commands: each is imported when it is called.
"""

from __future__ import annotations

from importlib.util import find_spec

import click

from ginnel.cli.commands import LazyGroup

FIREWALL: dict[str, tuple[str, str]] = {
    # name: (module and attribute, one line of help)
    "plan": ("ginnel.cli.firewall_plan:plan", "Say what must be let through, why, and what breaks without it"),
    "rules": ("ginnel.cli.firewall_rules:rules", "Write the rules in a firewall's own language"),
    "allowlist": ("ginnel.cli.firewall_allowlist:allowlist", "List host names and addresses for firewalls that pin"),
    "spec": ("ginnel.cli.firewall_spec:spec", "Print everything in one machine-readable document"),
    "sync": ("ginnel.cli.firewall_sync:sync", "Keep a firewall's set of addresses current"),
    "verify": ("ginnel.cli.firewall_verify:verify", "Try each rule for real from this host"),
    "open": ("ginnel.cli.firewall_open:open_port", "Let the tunnel's port in through this host's firewall"),
    "close": ("ginnel.cli.firewall_open:close_port", "Take back what `open` has changed"),
    "lint": ("ginnel.cli.firewall_lint:lint", "Judge a rule set offline: does the mesh pass?"),
}


def _present(table: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Those whose module this build has."""
    return {name: row for name, row in table.items() if find_spec(row[0].split(":")[0])}


@click.group(cls=LazyGroup, table=_present(FIREWALL))
def firewall() -> None:
    """Plan, write, apply and check what a firewall must let through."""
