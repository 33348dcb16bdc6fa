"""Exercises a kind of set on the real firewall, in namespaces of its own: `unshare ... python -m ... KIND DIRECTORY`.

What the programs write outside of the kernel (/etc/ufw, /etc/firewalld, /run) are private copies here.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from ginnel.shell.firewall.sets import AddressSet, SetError
from ginnel.shell.firewall.sets.kinds import KINDS

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
<allow user="*"/></policy></busconfig>
"""  # without services to be started, such as the one that asks people whether they may
FIRST = frozenset(map(ip_address, ("203.0.113.5", "203.0.113.6", "2001:db8::5")))
NEW = frozenset(map(ip_address, ("203.0.113.7", "2001:db8::7")))
OLD = frozenset(map(ip_address, ("203.0.113.5", "2001:db8::5")))
NAMES = {"nftables": "inet/mesh/ginnel4,ginnel6", "ipset": "ginnel4,ginnel6", "ufw": "443/tcp",
         "firewalld": "ginnel4,ginnel6"}  # fmt: skip
SHOW = {"nftables": ["nft", "list", "ruleset"], "ipset": ["ipset", "save"], "ufw": ["ufw", "status"],
        "firewalld": ["firewall-cmd", "--permanent", "--ipset=ginnel4", "--get-entries"]}  # fmt: skip
PATIENCE = 90.0


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def settle(directory: Path) -> None:
    run("mount", "--make-rprivate", "/")
    run("ip", "link", "set", "lo", "up")
    for name in ("ufw", "firewalld"):
        if (place := Path("/etc") / name).exists():
            run("cp", "-a", str(place), str(directory / name))
            run("mount", "--bind", str(directory / name), str(place))
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for name in ("dbus", "lock", "firewalld"):
        (Path("/run") / name).mkdir()


@contextmanager
def firewalld(directory: Path) -> Iterator[None]:
    """With a bus of its own. They end with the process namespace."""
    log = (directory / "log").open("wb")
    written = directory / "bus.conf"
    written.write_text(BUS)
    bus = subprocess.Popen(["dbus-daemon", f"--config-file={written}", "--nofork"], stdout=log, stderr=log)
    until(Path("/run/dbus/system_bus_socket").exists)
    daemon = subprocess.Popen(["firewalld", "--nofork", "--nopid"], stdout=log, stderr=log)
    try:
        until(lambda: subprocess.run(["firewall-cmd", "--state"], check=False, capture_output=True).returncode == 0)
        yield
    finally:
        for process in (daemon, bus):
            process.terminate()
            process.wait()


def until(condition: object) -> None:
    """A bound for failures only."""
    started = time.monotonic()
    while not condition():  # type: ignore[operator]
        assert time.monotonic() - started < PATIENCE
        time.sleep(0.05)


async def exercise(kind: str, target: AddressSet) -> dict[str, object]:
    """What is read after each step."""
    try:
        await target.read()
        missing = ""
    except SetError as error:
        missing = str(error)
    await target.prepare()
    await target.prepare()  # once more changes nothing
    empty = await target.read()
    await target.change(FIRST, ())
    await target.change(FIRST, ())  # what is there already is no error
    first = await target.read()
    await target.change(NEW, ())
    both = await target.read()
    await target.change((), OLD)
    last = await target.read()
    shown = run(*SHOW[kind])
    return {
        "missing": missing, "empty": not empty, "first": first == FIRST, "both": both == FIRST | NEW,
        "last": last == (FIRST | NEW) - OLD, "shown": shown,
    }  # fmt: skip


def main(kind: str, directory: Path) -> None:
    settle(directory)
    if kind == "ufw":
        run("ufw", "--force", "enable")
        run("ufw", "allow", "out", "proto", "tcp", "to", "203.0.113.99", "port", "443")  # somebody else's rule
    target = KINDS[kind](NAMES[kind])
    if kind == "firewalld":
        with firewalld(directory):
            seen = asyncio.run(exercise(kind, target))
    else:
        seen = asyncio.run(exercise(kind, target))
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
