"""Who is at the other end of the local socket, and what that user may do.

Room: shell. Source: tailscale: ipn/ipnserver, ipnauth; SO_PEERCRED (unix(7)).
"""

from __future__ import annotations

import os
import socket
import struct
from enum import Enum

_UCRED = struct.Struct("3i")  # pid, uid, gid


class Rights(Enum):
    READ = "read"
    WRITE = "write"


def peer_uid(connection: socket.socket) -> int | None:
    """The uid that connected, told by the kernel; None where it tells none."""
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except OSError:
        return None
    uid: int = _UCRED.unpack(raw)[1]
    return uid if uid >= 0 else None


def rights_of(uid: int | None) -> Rights:
    """Root and the daemon's own user may change things; everybody else on the machine may look."""
    return Rights.WRITE if uid is not None and uid in (0, os.geteuid()) else Rights.READ
