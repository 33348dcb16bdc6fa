"""A firewalld in namespaces of its own: with a bus, a /run and a copy of its settings that nobody else sees."""

from __future__ import annotations

import os
import subprocess

SCRIPT = r"""
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/dbus /run/etc
cp -a /etc/firewalld /run/etc/firewalld
mount --bind /run/etc/firewalld /etc/firewalld
ip link set lo up
dbus-daemon --system --nofork --nopidfile >/run/dbus.log 2>&1 &
bus=$!
while ! [ -S /run/dbus/system_bus_socket ]; do kill -0 $bus; sleep 0.02; done
firewalld --nofork --nopid >/run/firewalld.log 2>&1 &
daemon=$!
trap 'kill $daemon; wait $daemon || true; kill $bus' EXIT
until firewall-cmd --state >/dev/null 2>&1; do
  kill -0 $daemon || { cat /run/firewalld.log >&2; exit 1; }
  sleep 0.1
done
"""


def with_firewalld(commands: str, *arguments: str) -> str:
    """What the commands print, a shell's, run as root of a host whose firewalld has its default settings."""
    done = subprocess.run(
        ["unshare", "-m", "-n", "-p", "--fork", "--mount-proc", "sh", "-c", SCRIPT + commands, "sh", *arguments],
        capture_output=True, text=True, timeout=240, check=False, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
