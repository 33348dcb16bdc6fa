"""Named sets of addresses in the firewalls of Linux: read, add, remove; one file for each kind.

Room: shell. No shell ever sees a word of a map: programs are started by argument lists, and addresses are addresses.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from ginnel.core.firewall.sync_words import Family
from ginnel.words import IpAddress


class SetError(Exception):
    """One line for people: what happened, why, what to do."""


class AddressSet(Protocol):
    """`families`: those it can hold. `batch`: addresses that it takes in one go."""

    @property
    def families(self) -> tuple[Family, ...]: ...

    @property
    def batch(self) -> int: ...

    async def prepare(self) -> None:
        """Make the set where it is missing and can be made. Raises SetError."""

    async def read(self) -> frozenset[IpAddress]:
        """What stands in it. Raises SetError, also where it is no set for addresses."""

    async def change(self, adds: Collection[IpAddress], removes: Collection[IpAddress]) -> None:
        """Raises SetError; then it may have changed in part, where the firewall has no transactions."""
