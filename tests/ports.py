"""Ports that are free now and stay so until a test listens on them: below those that the kernel gives to connections
(net.ipv4.ip_local_port_range), where each worker looks in another place first."""

import itertools
import os
import socket

LOWEST, HIGHEST = 10_000, 32_000
_next = itertools.count(7919 * os.getpid())


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    for number in itertools.islice(_next, HIGHEST - LOWEST):
        port = LOWEST + number % (HIGHEST - LOWEST)
        with socket.socket(socket.AF_INET, kind) as trying:
            try:
                trying.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
