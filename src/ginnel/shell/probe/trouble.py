"""From errors of sockets to endings of steps.

Room: shell. Source: linux: net/ipv4/icmp.c icmp_err_convert, net/ipv6/icmp.c tab_unreach.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from ipaddress import ip_address

from ginnel.core.firewall.evidence import Ending
from ginnel.wire.read import WireError

ENDINGS = {
    errno.ECONNREFUSED: Ending.REFUSED,
    errno.ECONNRESET: Ending.RESET,
    errno.ECONNABORTED: Ending.RESET,
    errno.EPIPE: Ending.RESET,
    errno.ETIMEDOUT: Ending.SILENCE,
    errno.EPERM: Ending.FORBIDDEN,
    # ICMPv6 "administratively prohibited", and a `prohibit` route
    errno.EACCES: Ending.UNREACHABLE,
    errno.EHOSTUNREACH: Ending.UNREACHABLE,
    errno.ENETUNREACH: Ending.UNREACHABLE,
    errno.ENETDOWN: Ending.UNREACHABLE,
    errno.EHOSTDOWN: Ending.UNREACHABLE,
    errno.ENOPROTOOPT: Ending.UNREACHABLE,
    errno.ENONET: Ending.UNREACHABLE,
    errno.EMSGSIZE: Ending.UNREACHABLE,
}
NO_FAMILY_HERE = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
Trouble = OSError | EOFError | WireError | ValueError


def ending_of(error: Trouble) -> tuple[Ending, str]:
    """How a step ended by this error, and the error in words."""
    match error:
        case TimeoutError():
            return Ending.SILENCE, ""
        case ssl.SSLCertVerificationError():
            return Ending.CERTIFICATE, str(error.verify_message)
        case ssl.SSLError():
            return Ending.ANSWER, (error.reason or "no TLS").replace("_", " ").lower()
        case OSError():
            number = error.errno or 0
            words = "administratively prohibited" if number == errno.EACCES else os.strerror(number).lower()
            return ENDINGS.get(number, Ending.FAULT), words if number else str(error)
        case EOFError():
            return Ending.CLOSED, ""
        case _:
            return Ending.ANSWER, str(error)


def has_family(address: str) -> bool:
    """Whether this machine has the address's family: a packet to it could leave, and an answer come back. A connected
    UDP socket sends none. A route without an address gets a source that is only good at home."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as trying:
            trying.connect((address, 9))
            source = ip_address(str(trying.getsockname()[0]).partition("%")[0])
    except OSError as error:
        return error.errno not in NO_FAMILY_HERE
    to = ip_address(address)
    return (to.is_loopback or not source.is_loopback) and (to.is_link_local or not source.is_link_local)
