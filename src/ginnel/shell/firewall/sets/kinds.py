"""The kinds of sets by the names that `--backend` takes.

Room: shell.
"""

from __future__ import annotations

from collections.abc import Callable

from ginnel.shell.firewall.sets import AddressSet
from ginnel.shell.firewall.sets.command import CommandSet
from ginnel.shell.firewall.sets.firewalld import FirewalldSet
from ginnel.shell.firewall.sets.ipset import IpSet
from ginnel.shell.firewall.sets.nftables import NftSet
from ginnel.shell.firewall.sets.ufw import UfwRules

KINDS: dict[str, Callable[[str], AddressSet]] = {
    "nftables": NftSet.parse,
    "ipset": IpSet.parse,
    "ufw": UfwRules.parse,
    "firewalld": FirewalldSet.parse,
    "command": CommandSet.parse,
}
"""Each raises SetError for a `--set` that it cannot read."""
