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
def hosts(*names: str) -> Iterator[None]:
    """Namespaces with nothing but loopback, until the block ends."""
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in names:
            subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)


def wire(one: tuple[str, str, Sequence[str]], other: tuple[str, str, Sequence[str]]) -> None:
    """Join two namespaces; each end is (namespace, device name, addresses with prefix length)."""
    (space, device, _), (other_space, other_device, _) = one, other
    run("ip", "-n", space, "link", "add", device, "type", "veth", "peer", other_device, "netns", other_space)
    for name, end, addresses in (one, other):
        for address in addresses:
            run("ip", "-n", name, "addr", "add", address, "dev", end, *(("nodad",) if ":" in address else ()))
        run("ip", "-n", name, "link", "set", end, "up")


@contextmanager
def two_hosts(prefix: str) -> Iterator[tuple[str, str]]:
    """Namespaces `<prefix>-a` (192.0.2.1, 2001:db8::1) and `<prefix>-b` (192.0.2.2, 2001:db8::2) on one wire."""
    a, b = f"{prefix}-a", f"{prefix}-b"
    with hosts(a, b):
        wire((a, "eth0", ("192.0.2.1/24", "2001:db8::1/64")), (b, "eth0", ("192.0.2.2/24", "2001:db8::2/64")))
        yield a, b


@contextmanager
def two_hosts_and_a_relay(prefix: str) -> Iterator[tuple[str, str, str]]:
    """`<prefix>-a` and `-b` reach nothing but `<prefix>-r`: one finds it at 192.0.2.9, the other at 198.51.100.9."""
    a, b, r = f"{prefix}-a", f"{prefix}-b", f"{prefix}-r"
    with hosts(a, b, r):
        wire((a, "eth0", ("192.0.2.1/24",)), (r, "eth0", ("192.0.2.9/24",)))
        wire((b, "eth0", ("198.51.100.1/24",)), (r, "eth1", ("198.51.100.9/24",)))
        yield a, b, r
