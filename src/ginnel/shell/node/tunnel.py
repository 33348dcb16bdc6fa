"""A pump with its TUN device, or one line about why there is none.

Room: shell.
"""

from __future__ import annotations

import errno

from ginnel.core.node.routing import MARK
from ginnel.native import Pump
from ginnel.shell.node.engine import MTU, PumpLike, StartError
from ginnel.words import NodePrivate


def open_pump(key: NodePrivate, tun: str) -> PumpLike:
    """A pump with its TUN device. Raises StartError in words for people."""
    pump = Pump(key.raw, mark=MARK)
    try:
        pump.open_tun(tun, MTU)
    except OSError as error:
        pump.close()
        raise StartError(tun_line(error, tun)) from None
    return pump


def tun_line(error: OSError, tun: str) -> str:
    """What a refused TUN device means."""
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return "there is no /dev/net/tun: run `modprobe tun`, or give the container that device"
    if error.errno in (errno.EPERM, errno.EACCES):
        return "not allowed to make a network interface: start it with sudo (it needs CAP_NET_ADMIN)"
    if error.errno == errno.EBUSY:
        return f"the interface {tun} is in use by another program: name another with --tun"
    return f"the interface {tun} cannot be made: {error.strerror or error}"
