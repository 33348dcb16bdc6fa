"""Free addresses and free names for a new node.

Room: core. Nothing is changed here.
"""

from __future__ import annotations

from ginnel.core.control.registry import Registry
from ginnel.words import WallTime


def free_addresses(registry: Registry, now: WallTime) -> tuple[str, str]:
    raise NotImplementedError


def free_label(registry: Registry, hostname: str) -> str:
    raise NotImplementedError
