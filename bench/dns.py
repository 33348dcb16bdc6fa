"""Answers of the relays' DNS for each second of the server's own CPU time: UDP on loopback, four relays in the region.

The peer is Debian's knot, which is C and does nothing else; it says what an answer costs the kernel.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench._relays import free_port
from bench._rows import Row, burden, row
from bench.stun import _send
from ginnel.shell.relaydns.config import RelayDnsConfig, checked
from ginnel.shell.relaydns.service import RelayDns
from ginnel.wire.dns import A, name_of, query_bytes
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion

SECONDS = 2.0
WINDOW = 64
ZONE = "relays.example.com"
QUERY = query_bytes(1, name_of(f"derp1-all.{ZONE}"), A)


def rows(n: int) -> Iterator[Row]:
    knot = shutil.which("knotd", path="/usr/sbin:/usr/bin")
    mine, theirs = [], []
    for _ in range(n):
        mine.append(_measured(lambda place, port: [sys.executable, "-m", "bench.dns", str(place), str(port)]))
        if knot is not None:
            theirs.append(_measured(lambda place, port: [knot, "-c", str(_knot_settings(place, port))]))
    notes = f"{WINDOW} queries under way, {SECONDS:g} s; {burden()}"
    yield row("dns/answers", "answers/CPU second", mine, theirs, peer="knot", notes=notes, absent="knot is absent")


def _measured(command: Callable[[Path, int], list[str]]) -> float:
    with tempfile.TemporaryDirectory() as place:
        port = free_port()
        server = subprocess.Popen(command(Path(place), port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await(port)
            before = _cpu_seconds(server.pid)
            answers = _ask(port)
            return answers / (_cpu_seconds(server.pid) - before)
        finally:
            server.terminate()
            server.wait()


def _await(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("127.0.0.1", port))
        udp.settimeout(0.1)
        for _ in range(200):
            try:
                udp.send(QUERY)
                udp.recv(2000)
                return
            except OSError:
                time.sleep(0.05)
    raise RuntimeError("the DNS server does not answer")


def _ask(port: int) -> int:
    answers, end = 0, time.monotonic() + SECONDS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("127.0.0.1", port))
        udp.settimeout(0.05)
        _send(udp, QUERY, WINDOW)
        while time.monotonic() < end:
            try:
                answers += len(udp.recv(2000)) > 100
                udp.send(QUERY)
            except TimeoutError:  # all were lost: start anew
                _send(udp, QUERY, WINDOW)
    return answers


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _relays() -> DERPMap:
    nodes = [DERPNode(f"1{'abcd'[i]}", 1, f"r{i}", ipv4=f"192.0.2.{i + 1}", ipv6="none") for i in range(4)]
    return DERPMap(regions={1: DERPRegion(1, "one", "One", nodes=nodes)})


def _knot_settings(place: Path, port: int) -> Path:
    lines = [f"{ZONE}. 60 SOA ns.{ZONE}. admin.{ZONE}. 1 300 60 604800 60", f"{ZONE}. 60 NS ns.{ZONE}."]
    lines += [f"ns.{ZONE}. A 127.0.0.1", *(f"derp1-all.{ZONE}. 60 A 192.0.2.{i}" for i in range(1, 5))]
    (place / "zone").write_text("\n".join(lines) + "\n")
    path = place / "knot.conf"
    path.write_text(
        f"server:\n    rundir: {place}\n    listen: 127.0.0.1@{port}\n    udp-workers: 1\n"
        f"database:\n    storage: {place}\n"
        f"zone:\n  - domain: {ZONE}\n    storage: {place}\n    file: zone\n"
    )
    return path


async def _serve(place: Path, port: int) -> None:
    """The limit is on, and too high to be met from one address."""
    config = RelayDnsConfig(zone=ZONE, listen=(f"127.0.0.1:{port}",), rate_limit=1e9)
    served = RelayDns(checked(config, "127.0.0.1", ()), place, _relays)
    await served.start()
    await served.run()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
