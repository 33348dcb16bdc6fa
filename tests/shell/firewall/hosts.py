"""A host in a namespace of its own, where commands run as a user types them, with private copies of ufw's files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ginnel
from ginnel.lab.namespace import run as in_machine
from ginnel.shell.firewall.undo_record import LOCK

SOURCE = Path(ginnel.__file__).parent.parent
DENY = "table inet f {\nchain c { type filter hook input priority 0; policy drop; ct state established accept; }\n}\n"
UFW = (Path("/etc/ufw"), Path("/etc/default"), Path("/lib/ufw"))


class Host:
    """directory: for the record (`state`) and the copies. name: of its network namespace."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.state = directory / "state"
        self._copies: list[tuple[Path, Path]] = []
        self._directory = directory

    def records(self) -> list[Path]:
        """What is noted of changes that stand."""
        return [path for path in self.state.iterdir() if path.name != LOCK]

    def with_ufw(self) -> None:
        for path in UFW:
            copy = self._directory / path.relative_to("/").as_posix().replace("/", "-")
            shutil.copytree(path, copy, symlinks=True)
            self._copies.append((copy, path))

    @property
    def has_ufw(self) -> bool:
        return any(path == UFW[0] for _, path in self._copies)

    def in_place_of(self, file: Path, path: Path) -> None:
        """For whatever runs from now on."""
        self._copies.append((file, path))

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """In the namespace, with the copies in place of the machine's files."""
        binds = "".join(f"mount --bind '{copy}' '{path}' && " for copy, path in self._copies)
        shell = f'{binds}mount -t tmpfs tmpfs /run && mount -t sysfs sysfs /sys && exec "$@"'
        inside = 'exec unshare -m sh -c "$0" sh "$@"'
        return subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.name}", "sh", "-c", inside, shell, *argv],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment(),
        )  # fmt: skip

    def run(self, *argv: str, fails: bool = False) -> str:
        """What it prints on both outputs."""
        process = self.start(*argv)
        out, err = process.communicate(timeout=60)
        assert bool(process.returncode) == fails, f"{argv}: {out}{err}"
        return out + err

    def ginnel(self, *arguments: str, fails: bool = False) -> str:
        return self.run(*program(), *arguments, fails=fails)

    def deny(self, kind: str) -> None:
        """A default-deny that lets answers in, by that firewall."""
        if kind == "nftables":
            rules = self._directory / "rules"
            rules.write_text(DENY)
            self.run("nft", "-f", str(rules))
        elif kind == "iptables":
            for name in ("iptables", "ip6tables"):
                self.run(name, "-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT")
                self.run(name, "-P", "INPUT", "DROP")
        else:
            self.with_ufw()
            self.run("ufw", "--force", "enable")
            self.run("ufw", "allow", "1/udp")  # with its first rule ufw adds one to ufw6-user-limit for good
            self.run("ufw", "delete", "allow", "1/udp")

    def open(self, *arguments: str, fails: bool = False) -> str:
        return self.ginnel("firewall", "open", *self._own(), *arguments, fails=fails)

    def close(self, *arguments: str, fails: bool = False) -> str:
        return self.ginnel("firewall", "close", "--state", str(self.state), *arguments, fails=fails)

    def _own(self) -> tuple[str, ...]:
        return "--state", str(self.state), "--socket", str(self._directory / "no-daemon.sock")


def program() -> tuple[str, ...]:
    return sys.executable, "-c", "from ginnel.cli.main import main; main()"


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE), "LC_ALL": "C"}


@contextmanager
def host(directory: Path) -> Iterator[Host]:
    name = f"gw{os.getpid()}"
    in_machine(["ip", "netns", "add", name])
    try:
        in_machine(["ip", "-n", name, "link", "set", "lo", "up"])
        yield Host(name, directory)
    finally:
        in_machine(["ip", "netns", "del", name])
