"""What a service and systemd tell each other (systemd: sd_notify(3), sd_listen_fds(3)).

Room: shell.
"""

from __future__ import annotations

import os
import socket

FIRST_SOCKET = 3


def notify(words: str) -> None:
    """`READY=1` and such, if anybody listens. Nobody waits for it, so a service never fails by it."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        try:
            line.sendto(words.encode(), socket.MSG_NOSIGNAL, address)
        except OSError:
            return


def inherited_sockets() -> list[int]:
    """Descriptors of sockets that were bound for this process. They are not passed on to its children."""
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return []
    number = os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not (number.isascii() and number.isdigit()):
        return []
    found = list(range(FIRST_SOCKET, FIRST_SOCKET + int(number)))
    for descriptor in found:
        os.set_inheritable(descriptor, False)
    return found
