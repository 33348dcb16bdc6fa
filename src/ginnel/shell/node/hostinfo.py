"""What this machine tells its server about itself.

Room: shell.
"""

from __future__ import annotations

import platform
import re
import socket
from typing import Any

import msgspec

from ginnel import __version__
from ginnel.core.node.actions import ReportToControl
from ginnel.core.node.control_actions import Report
from ginnel.shell.node.state import Prefs
from ginnel.wire.tailcfg import NetInfo

GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def hostinfo(prefs: Prefs, net_info: NetInfo | None = None) -> dict[str, Any]:
    """Hostinfo as JSON members, in Go's names. It names no serial number, user or address."""
    machine = platform.machine()
    members: dict[str, Any] = {
        "IPNVersion": f"{__version__}-ginnel",
        "OS": "linux",
        "OSVersion": platform.release(),
        "Hostname": host_name(prefs),
        "Machine": machine,
        "GoArch": GO_ARCH.get(machine, machine),
        "Package": "ginnel",
        "Userspace": False,
        "UserspaceRouter": False,
        "NoLogsNoSupport": True,
    }
    if prefs.advertise_tags:
        members["RequestTags"] = list(prefs.advertise_tags)
    if net_info is not None:
        members["NetInfo"] = msgspec.to_builtins(net_info)
    return members


def own_report(prefs: Prefs, known: ReportToControl | None, logs: dict[str, Any]) -> Report:
    """With what the mesh core has found out, once it has. `logs`: more members."""
    if known is None:
        return Report(hostinfo(prefs) | logs)
    endpoints = tuple(str(endpoint) for endpoint in known.endpoints)
    return Report(hostinfo(prefs, known.net_info) | logs, endpoints, tuple(int(kind) for kind in known.types))


def host_name(prefs: Prefs) -> str:
    """The user's choice, else the machine's own name, as one DNS label."""
    name = prefs.hostname or socket.gethostname().split(".")[0]
    return re.sub(r"[^A-Za-z0-9-]+", "-", name).strip("-")[:63] or "node"
