"""Being inside a network namespace: a thread of this process that lives there, and the processes it starts.

Room: lab. A network, mount or host-name namespace belongs to a thread, so one thread for each namespace can open
sockets, write /proc/sys/net and start programs inside without any of the cost of a new interpreter; the sockets stay
where they were opened and can be used from everywhere. The thread lives as long as the lab: the kernel's
parent-death signal, by which a program ends with its lab, follows the thread that started it.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from ginnel.lab import LabError

P = ParamSpec("P")
T = TypeVar("T")

NAMED = Path("/run/netns")
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWNET = 0x20000, 0x4000000, 0x40000000
MNT_DETACH = 2
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
COMMAND_LIMIT = 20.0
KEPT_ETC = ("resolv.conf", "hosts", "hostname")  # files of a host's own; the rest of /etc is the machine's

libc = ctypes.CDLL(None, use_errno=True)  # os.setns and os.unshare came with Python 3.12


def called(result: int, what: str) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)


def enter_network(name: str) -> None:
    """Move the calling thread into a named network namespace."""
    descriptor = os.open(NAMED / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        called(libc.setns(descriptor, CLONE_NEWNET), name)
    finally:
        os.close(descriptor)


def mount(source: Path, target: Path) -> None:
    called(libc.mount(bytes(source), bytes(target), None, MS_BIND | MS_REC, None), f"bind {source} on {target}")


def enter_host(name: str, directory: Path, hostname: str) -> None:
    """Move the calling thread into a host: its network, its name, and a /run, /etc, /var/lib and /sys of its own.

    directory: made by `furnish`. It is /run/lab inside, so /run/netns, the machine's resolver and its bus are out of
    reach, and two hosts' daemons do not share a socket path.
    """
    enter_network(name)
    called(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS), "unshare")
    if in_chroot():
        settle_in_chroot()
    called(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "make mounts private")
    mount(Path("/etc"), directory / "machine-etc")
    mount(directory / "etc", Path("/etc"))
    mount(directory / "var-lib", Path("/var/lib"))
    mount(directory, directory / "run" / "lab")
    mount(directory / "run", Path("/run"))
    libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None)  # refused in some containers: /sys/class/net then shows theirs
    socket.sethostname(hostname)


def in_chroot() -> bool:
    """Whether / is no mount: then it cannot be made private, and `ip -n` and `ip netns exec` fail."""
    return all(mount_point(line) != b"/" for line in mounts())


def settle_in_chroot() -> None:
    """Give this thread, which is in a chroot and in a mount namespace of its own, a root that is a private mount.

    What is mounted right below / could show outside. So each mount there is gets private, and one of them, /proc, holds
    a copy of the tree for as long as it takes to make that copy the root.
    """
    for line in mounts():
        called(libc.mount(None, mount_point(line), None, MS_PRIVATE, None), "make mounts private")
    called(libc.mount(b"tmpfs", b"/proc", b"tmpfs", 0, None), "mount a tmpfs")
    root = Path("/proc/root")
    root.mkdir()
    mount(Path("/"), root)
    called(libc.mount(None, bytes(root), None, MS_REC | MS_PRIVATE, None), "make mounts private")
    os.chroot(root)
    os.chdir("/")
    called(libc.umount2(b"/proc", MNT_DETACH), "uncover /proc")


def mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def mount_point(line: str) -> bytes:
    """The fifth field of a line of mountinfo, where blanks and backslashes are octal."""
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), line.split()[4].encode())


def furnish(directory: Path, hostname: str) -> None:
    """Make a host's directory: `run`, `etc`, `var-lib`, `state`, `home`, `logs`."""
    for name in ("run/lab", "etc", "machine-etc", "var-lib", "state", "home", "logs"):
        (directory / name).mkdir(parents=True, mode=0o755)
    for entry in Path("/etc").iterdir():
        if entry.name not in KEPT_ETC:
            (directory / "etc" / entry.name).symlink_to(f"/run/lab/machine-etc/{entry.name}")
    (directory / "etc/resolv.conf").write_text("# no resolver: a lab is not connected to the world\n")
    (directory / "etc/hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {hostname}\n")
    (directory / "etc/hostname").write_text(f"{hostname}\n")


class Inside:
    """One namespace with the thread that lives in it."""

    def __init__(self, name: str, enter: Callable[[], None]) -> None:
        self.name = name
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self.call(enter)

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.thread.submit(function, *args, **kwargs).result()

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        """A command's standard output; LabError with its first line of complaint."""
        return self.call(run, argv, stdin)

    def socket(self, kind: socket.SocketKind, address: tuple[str, int], family: int = socket.AF_INET) -> socket.socket:
        """A bound socket of this namespace, to be used from any thread."""
        return self.call(bound, family, kind, address)

    def sysctls(self, settings: Mapping[str, str]) -> None:
        self.call(write_sysctls, settings)

    def close(self) -> None:
        self.thread.shutdown()


def run(argv: Sequence[str], stdin: str = "") -> str:
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=COMMAND_LIMIT, check=False)
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is not installed: install the package that has it (iproute2, nftables)") from None
    if done.returncode:
        complaint = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[0]
        raise LabError(f"{' '.join(argv)}: {complaint}")
    return done.stdout


def bound(family: int, kind: socket.SocketKind, address: tuple[str, int]) -> socket.socket:
    opened = socket.socket(family, kind)
    if kind == socket.SOCK_STREAM:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind(address)
    return opened


def write_sysctls(settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        (Path("/proc/sys") / name).write_text(value)
