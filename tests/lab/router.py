"""A machine, a router and two relays, each in a namespace of its own:

    node 192.168.7.2 ------ router ------ 203.0.113.10, 2001:db8:1::10   relay of region 900
         2001:db8:7::2                    203.0.113.11, 2001:db8:1::11   relay of region 901

The router masquerades IPv4 as it is told and drops what it is told; IPv6 it only forwards. 203.0.113.20 is nobody's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GENEROUS = 30.0
MAIN = "from ginnel.cli.main import main; main()"
RELAYS = {900: 10, 901: 11}
HOME_ROUTER = ('iifname "wan" ct state established,related accept', 'iifname "wan" drop')
NO_UDP6 = """
add table ip6 lab
add chain ip6 lab f { type filter hook forward priority 0; }
add rule ip6 lab f meta l4proto udp drop
"""
EASY, HARD = 'oifname "wan" masquerade', 'oifname "wan" masquerade fully-random'

FALSE_PAGE = """
import socket, sys
answer = sys.argv[1].encode().decode("unicode_escape").encode("latin-1")
listener = socket.create_server((sys.argv[2], 80), backlog=64)
print(flush=True)
while True:
    connection, _ = listener.accept()
    with connection:
        request = connection.recv(4096)
        print(request.split(b"\\r\\n")[0].decode("latin-1"), flush=True)
        connection.sendall(answer)
"""
"""Answers everybody on port 80 alike, and prints what they ask for."""


class Network:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names = {short: f"nc-{os.getpid()}-{short}" for short in ("node", "router", "relays")}
        self.programs: list[subprocess.Popen[str]] = []
        self.map = directory / "map.json"
        for name in self.names.values():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")

    def wire(self) -> None:
        node, router, relays = self.names.values()
        ip("link", "add", "eth0", "netns", node, "type", "veth", "peer", "name", "lan", "netns", router)
        ip("link", "add", "eth0", "netns", relays, "type", "veth", "peer", "name", "wan", "netns", router)
        for place, device in (("node", "eth0"), ("router", "lan"), ("router", "wan"), ("relays", "eth0")):
            # A link-local address on trial for a second cannot ask for neighbours, and all IPv6 waits for it.
            off = (f"net.ipv6.conf.{which}.accept_dad=0" for which in ("all", device))
            assert self.run(place, "sysctl", "-qw", *off).returncode == 0
        self._address(node, "eth0", "192.168.7.2/24", "2001:db8:7::2/64")
        self._address(router, "lan", "192.168.7.1/24", "2001:db8:7::1/64")
        self._address(router, "wan", "203.0.113.1/24", "2001:db8:1::1/64")
        for number in RELAYS.values():
            self._address(relays, "eth0", f"203.0.113.{number}/24", f"2001:db8:1::{number}/64")
        ip("-n", node, "route", "add", "default", "via", "192.168.7.1")
        ip("-n", node, "-6", "route", "add", "default", "via", "2001:db8:7::1")
        ip("-n", relays, "-6", "route", "add", "default", "via", "2001:db8:1::1")
        for setting in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"):
            done = self.run("router", "sysctl", "-qw", setting)
            assert done.returncode == 0, done.stderr

    def _address(self, name: str, device: str, v4: str, v6: str) -> None:
        ip("-n", name, "addr", "add", v4, "dev", device)
        ip("-n", name, "addr", "add", v6, "dev", device, "nodad")
        ip("-n", name, "link", "set", device, "up")

    def start_relays(self, regions: dict[int, int] | None = None) -> None:
        """With a DERP map of all of them in `map`."""
        entries: dict[str, Any] = {}
        for region, number in (regions or RELAYS).items():
            v4, v6 = f"203.0.113.{number}", f"[2001:db8:1::{number}]"
            ports = [word for kind, port in (("listen", 443), ("http", 80), ("stun", 3478))
                     for word in (f"--{kind}", f"{v4}:{port}", f"--{kind}", f"{v6}:{port}")]  # fmt: skip
            state = str(self.directory / f"relay{region}")
            program = self.start(
                "relays",
                MAIN,
                "relay",
                "run",
                "--hostname",
                v4,
                "--state",
                state,
                "--region",
                str(region),
                "--json",
                *ports,
            )
            assert program.stdout is not None
            (entry,) = json.loads(program.stdout.readline()).values()
            entry |= {"RegionCode": f"r{region}", "RegionName": f"Region {region}"}
            entry["Nodes"][0]["IPv6"] = v6.strip("[]")
            entries[str(region)] = entry
        self.map.write_text(json.dumps({"Regions": entries}))
        for number in (regions or RELAYS).values():  # neighbours are found, so that the first probe is not late
            reached = self.run("node", "ping", "-6", "-c", "1", "-w", "20", f"2001:db8:1::{number}")
            assert reached.returncode == 0, reached.stdout

    def command(self, where: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.names[where], *words]

    def run(self, where: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(where, *words), input=stdin, capture_output=True, text=True, timeout=GENEROUS, check=False
        )

    def start(self, where: str, code: str, *arguments: str) -> subprocess.Popen[str]:
        log = (self.directory / "programs.log").open("a")
        with log:
            program = subprocess.Popen(
                self.command(where, sys.executable, "-c", code, *arguments),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.programs.append(program)
        return program

    def rules(self, *, nat: str = "", drop: tuple[str, ...] = (), redirect: tuple[str, ...] = ()) -> None:
        """The router's whole behaviour from now on; flows that stand are forgotten."""
        chains = {
            "forward { type filter hook forward priority 0;": drop,
            "input { type filter hook input priority 0;": HOME_ROUTER if nat else (),
            "post { type nat hook postrouting priority 100;": (nat,) if nat else (),
            "pre { type nat hook prerouting priority -100;": redirect,
        }
        body = "\n".join(f"chain {head}\n" + "\n".join(lines) + "\n}" for head, lines in chains.items())
        done = self.run(
            "router", "nft", "-f", "-", stdin=f"add table ip lab\ndelete table ip lab\ntable ip lab {{\n{body}\n}}\n"
        )
        assert done.returncode == 0, done.stderr
        self.run("router", "conntrack", "-F")

    def netcheck(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("node", sys.executable, "-c", MAIN, "netcheck", "--derp-map", str(self.map), *words)

    def report(self, *words: str) -> dict[str, Any]:
        done = self.netcheck("--json", *words)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    @contextmanager
    def false_page(self, answer: str, *, address: str = "203.0.113.20") -> Iterator[subprocess.Popen[str]]:
        """A portal beside the relays, at an address that the rules may redirect to."""
        ip("-n", self.names["relays"], "addr", "replace", f"{address}/24", "dev", "eth0")
        program = self.start("relays", FALSE_PAGE, answer.encode("unicode_escape").decode(), address)
        assert program.stdout is not None
        program.stdout.readline()
        try:
            yield program
        finally:
            self.stop(program)

    def stop(self, program: subprocess.Popen[str]) -> None:
        program.kill()
        program.communicate(timeout=GENEROUS)
        self.programs.remove(program)

    def close(self) -> None:
        for program in list(self.programs):
            self.stop(program)
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], check=False)


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout


def to_portal(protocol: str = "tcp dport 80") -> tuple[str, ...]:
    return (f'iifname "lan" {protocol} dnat to 203.0.113.20:80',)


@contextmanager
def standing_network() -> Iterator[Network]:
    """The wire with both relays, and their DERP map in `map`."""
    directory = Path(tempfile.mkdtemp(prefix="nc"))
    network = Network(directory)
    try:
        network.wire()
        network.start_relays()
        yield network
    finally:
        network.close()
        shutil.rmtree(directory)
