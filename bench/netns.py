"""Two hosts on one wire: network namespaces joined by a veth pair, taken down whatever happens. Needs root."""

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def run(*command: str, input: str | None = None) -> str:  # noqa: A002 - subprocess's own name for it
    """Run a program to its end; its output, or CalledProcessError."""
    return subprocess.run(command, check=True, capture_output=True, text=True, input=input, timeout=60).stdout


def within(namespace: str, *command: str) -> Sequence[str]:
    """The command that runs `command` inside a namespace."""
    return ("ip", "netns", "exec", namespace, *command)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread's new sockets and devices belong to the namespace until the block ends."""
    with Path("/proc/thread-self/ns/net").open() as home, Path(f"/run/netns/{namespace}").open() as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def two_hosts(prefix: str) -> Iterator[tuple[str, str]]:
    """Namespaces `<prefix>-a` (192.0.2.1, 2001:db8::1) and `<prefix>-b` (192.0.2.2, 2001:db8::2)."""
    names = (f"{prefix}-a", f"{prefix}-b")
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", names[0], "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for number, name in enumerate(names, start=1):
            run("ip", "-n", name, "addr", "add", f"192.0.2.{number}/24", "dev", "eth0")
            run("ip", "-n", name, "addr", "add", f"2001:db8::{number}/64", "dev", "eth0", "nodad")
            run("ip", "-n", name, "link", "set", "eth0", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)
