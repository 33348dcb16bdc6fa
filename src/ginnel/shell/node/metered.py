"""Whether the way out is paid for by the byte, as far as the kernel can tell: it is a modem's.

Room: shell.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SYSTEM = Path("/sys/class/net")
MODEM_TYPES = ("DEVTYPE=wwan",)  # the kernel's drivers of cellular modems say so
MODEM_NAMES = ("ppp", "rmnet", "wwan")  # older ones and phones' have only a name


def is_metered(interfaces: Iterable[str], system: Path = SYSTEM) -> bool:
    """interfaces: of the default routes."""
    return any(name.startswith(MODEM_NAMES) or _is_modem(system / name / "uevent") for name in interfaces)


def _is_modem(uevent: Path) -> bool:
    try:
        return any(line in MODEM_TYPES for line in uevent.read_text().splitlines())
    except OSError:  # gone since, or /sys is not there
        return False
