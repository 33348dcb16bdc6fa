"""Sockets on port 53, and what to do where somebody has it.

Room: shell.
"""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from pathlib import Path

from ginnel.shell.relaydns.keyfile import RelayDnsError

STUB = "3500007F:0035"  # 127.0.0.53 port 53, as /proc/net/udp writes it
_TRIES = 20


def open_sockets(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """(UDP, TCP), bound to the same port; the TCP one is not listening yet. Port 0: one that is free for both. Raises
    RelayDnsError."""
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"  # noqa: S104
    for last in (*[False] * (_TRIES if port == 0 else 0), True):
        try:
            return _both(host, port)
        except OSError as error:
            if last or error.errno != errno.EADDRINUSE:
                raise RelayDnsError(_told(host, port, error)) from None
    raise AssertionError("the last try returns or raises")


def _both(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    with ExitStack() as undo:
        tcp = undo.enter_context(_bound(host, port, socket.SOCK_STREAM))
        udp = undo.enter_context(_bound(host, tcp.getsockname()[1], socket.SOCK_DGRAM))
        undo.pop_all()
        return udp, tcp


def _bound(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, kind)
    try:
        if kind is socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made


def _told(host: str, port: int, error: OSError) -> str:
    where = f"cannot listen on {f'[{host}]' if ':' in host else host}:{port}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{where}: not permitted; start as root, or with AmbientCapabilities=CAP_NET_BIND_SERVICE"
    if error.errno != errno.EADDRINUSE:
        return f"{where}: {error.strerror}; name an address of this machine in relay_dns.listen"
    if port == 53 and _stub_listens():
        return (
            f"{where}: systemd-resolved has the port on 127.0.0.53; name this machine's public address in"
            " relay_dns.listen, or set DNSStubListener=no in /etc/systemd/resolved.conf and restart it"
        )
    return f"{where}: another program has the port; stop it (ss -lunp 'sport = {port}'), or change relay_dns.listen"


def _stub_listens(table: Path = Path("/proc/net/udp")) -> bool:
    try:
        return STUB in table.read_text()
    except OSError:
        return False
