"""The one part of pyroute2 that a node needs.

Room: shell. `import pyroute2` brings its databases, ethtool, conntrack and IPVS along: 230 modules, 16 MiB and 0.3 s of
a daemon's start, where route netlink alone takes 9 MiB and 0.1 s. So its package is made known without running its
`__init__`, and the one module is imported from it. Where somebody has imported the whole, the whole is used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

__all__ = ["AsyncIPRoute", "NetlinkError"]

PACKAGE = "pyroute2"


def _import(module: str, attribute: str) -> Any:
    if PACKAGE not in sys.modules:
        sys.modules[PACKAGE] = _hollow()
    return getattr(import_module(f"{PACKAGE}.{module}"), attribute)


def _hollow() -> ModuleType:
    """The package with its path, so that its submodules are found, and nothing in it."""
    found = find_spec(PACKAGE)
    if found is None:
        raise ModuleNotFoundError(f"{PACKAGE} is not installed", name=PACKAGE)
    spec = ModuleSpec(PACKAGE, None, origin=found.origin, is_package=True)
    spec.submodule_search_locations = found.submodule_search_locations
    return module_from_spec(spec)


AsyncIPRoute = _import("iproute.linux", "AsyncIPRoute")
NetlinkError = _import("netlink.exceptions", "NetlinkError")
