"""Real runs of `firewall sync`: sets of nftables or ipset, the relays' DNS server and an HTTP server in a network
namespace, and the real process, killed by -9 at random moments while everything around it fails.

`unshare --net python -m tests.lab.firewall_sync_runs RUNS SEED DIRECTORY [BACKEND]` prints what was seen as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ginnel.shell.metrics_door import listening
from ginnel.shell.relaydns.config import RelayDnsConfig, checked
from ginnel.shell.relaydns.resolve import Resolver
from ginnel.shell.relaydns.service import RelayDns
from ginnel.wire.tailcfg import DERPMap, encode
from ginnel.words import IpAddress
from tests.core.relaydns.relay_names import ZONE, derp_map, node, region

DNS_PORT, HTTP_PORT = 5399, 8099
LINGER = 2.0
PATIENCE = 20.0  # bounds of failures alone
FAULTS = ("server-down", "server-garbage", "server-hangs", "dns-down", "dns-garbage")
ELEMENT = re.compile(r"[0-9a-f:.]{7,}")

Names = dict[str, tuple[str, str]]  # "1a" -> IPv4, IPv6


class Broken(AssertionError):
    """The set was wrong."""


class Around:
    """The server, DNS and the truth. `since`: from when on an address has been true without a break."""

    def __init__(self, seed: int, state: Path) -> None:
        self.random = Random(seed)
        self.names: Names = {}
        self.since: dict[IpAddress, float] = {}
        self.ever: set[IpAddress] = set()
        self.faults: set[str] = set()
        self.state = state
        self.dns: RelayDns | None = None
        self.liar: asyncio.DatagramTransport | None = None
        self.over = asyncio.Event()
        self.next = 1
        for _ in range(4):
            self.change()

    def change(self) -> None:
        """A relay comes, goes, or moves."""
        name = f"{self.random.randint(1, 6)}a"
        if name in self.names and len(self.names) > 2 and self.random.random() < 0.5:
            del self.names[name]
        else:
            self.next += 1
            self.names[name] = (f"198.51.{self.next >> 8}.{self.next & 255}", f"2001:db8::{self.next:x}")
        now = time.monotonic()
        true = self.true()
        self.since = {ip: self.since.get(ip, now) for ip in true}
        self.ever |= true
        if self.dns is not None:
            self.dns.changed(self.full_map())

    def true(self) -> set[IpAddress]:
        return {ip_address(text) for pair in self.names.values() for text in pair}

    def full_map(self) -> DERPMap:
        return derp_map(*(region(int(n[:-1]), node(n, *pair, f"derp{n}.{ZONE}")) for n, pair in self.names.items()))

    def public_map(self) -> DERPMap:
        """Names alone, so that DNS counts; but the first relay's addresses."""
        first = min(self.names)
        return derp_map(
            *(
                region(int(n[:-1]), node(n, *(pair if n == first else ("", "")), f"derp{n}.{ZONE}"))
                for n, pair in self.names.items()
            )
        )

    async def served(self, request: Request) -> Response:
        if "server-hangs" in self.faults:
            await self.over.wait()
        if "server-down" in self.faults:
            return Response("down", 503)
        if "server-garbage" in self.faults:
            return Response(self.random.choice((b'{"Regions":{}}', b"{", b'{"Regions":{"1":null}}', b"<html>", b"")))
        return Response(encode(self.public_map()), headers={"Ginnel-Relay-Zone": ZONE})

    async def set_dns(self) -> None:
        """The real server, a liar, or nobody has the port."""
        if self.dns is not None:
            await self.dns.close()
            self.dns = None
        if self.liar is not None:
            self.liar.close()
            self.liar = None
            await asyncio.sleep(0)
        if "dns-garbage" in self.faults:
            loop = asyncio.get_running_loop()
            self.liar, _ = await loop.create_datagram_endpoint(
                lambda: Liar(self.random), local_addr=("127.0.0.1", DNS_PORT)
            )
        elif "dns-down" not in self.faults:
            config = RelayDnsConfig(
                zone=ZONE, listen=(f"127.0.0.1:{DNS_PORT}",), ns={f"ns1.{ZONE}": ("127.0.0.1",)}, rate_limit=0
            )
            settings = checked(config, "127.0.0.1", ())
            settings = replace(settings, zone=replace(settings.zone, ttl=1))
            self.dns = RelayDns(settings, self.state, self.full_map, lambda: Resolver(nobody))
            await self.dns.start()

    async def shake(self) -> None:
        """Something fails, or works again; the map changes."""
        if self.random.random() < 0.5:
            self.change()
        before = set(self.faults)
        if self.random.random() < 0.5:
            self.faults = set() if self.faults else {self.random.choice(FAULTS)}
        if {"dns-down", "dns-garbage"} & (before ^ self.faults):
            await self.set_dns()


def nobody(host: str, family: socket.AddressFamily) -> list[str]:
    raise socket.gaierror(socket.EAI_AGAIN, "for this test")


class Liar(asyncio.DatagramProtocol):
    """Answers, but nothing that may be believed: bytes, errors, nothing at all, or addresses of private networks."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = data[12 : data.index(b"\0", 12) + 5]
        v4 = question[-3] == 1
        lie = b"\xc0\x0c" + question[-4:-2] + b"\0\1\0\0\0\1" + (b"\0\4\x0a\0\0\1" if v4 else b"\0\x10\xfd" + bytes(15))
        counts = b"\0\1\0\1\0\0\0\0"
        self.transport.sendto(
            self.random.choice((
                self.random.randbytes(40),
                data[:2] + self.random.randbytes(60),
                data[:2] + b"\x81\x83\0\1\0\0\0\0\0\0" + question,
                data[:2] + b"\x81\x82\0\1\0\0\0\0\0\0" + question,
                data[:2] + b"\x81\x80\0\1\0\0\0\0\0\0" + question,
                data[:2] + b"\x81\x80" + counts + question + lie,
                data[:2] + b"\x81\x80" + counts + question + lie[:-3],
            )),
            addr,
        )  # fmt: skip


# --- the set -----------------------------------------------------------------------------------------------------


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


class NftSets:
    name = "inet/filter/ginnel4,ginnel6"
    show = ("nft", "list", "sets")

    def make(self) -> None:
        run("nft", "add table inet filter")
        run("nft", "add set inet filter ginnel4 { type ipv4_addr; }")
        run("nft", "add set inet filter ginnel6 { type ipv6_addr; }")

    def wipe(self) -> None:
        run("nft", "flush", "ruleset")

    def elements(self, text: str) -> list[str]:
        return [found for one in re.findall(r"elements = \{([^}]*)\}", text) for found in ELEMENT.findall(one)]


class IpSets:
    name = "ginnel4,ginnel6"
    show = ("ipset", "save")

    def make(self) -> None:
        run("ipset", "create", "ginnel4", "hash:ip", "family", "inet")
        run("ipset", "create", "ginnel6", "hash:ip", "family", "inet6")

    def wipe(self) -> None:
        run("ipset", "destroy")

    def elements(self, text: str) -> list[str]:
        return re.findall(r"^add ginnel[46] (\S+)$", text, re.MULTILINE)


BACKENDS: dict[str, NftSets | IpSets] = {"nftables": NftSets(), "ipset": IpSets()}
SETS = BACKENDS[sys.argv[4] if len(sys.argv) > 4 and __name__ == "__main__" else "nftables"]


async def held() -> set[IpAddress]:
    process = await asyncio.create_subprocess_exec(*SETS.show, stdout=asyncio.subprocess.PIPE)
    text, _ = await process.communicate()
    return set(map(ip_address, SETS.elements(text.decode())))


class Watch:
    """Looks again and again, from outside. `flushed`: from when to when somebody else has emptied the set."""

    def __init__(self, around: Around) -> None:
        self.around = around
        self.before: set[IpAddress] = set()
        self.looks = 0
        self.rebooted = False

    async def look(self) -> set[IpAddress]:
        true = set(self.around.since)
        found = await held()
        self.looks += 1
        if self.rebooted:
            return found
        if self.before and not found:
            raise Broken("the set is empty")
        if strange := found - self.around.ever:
            raise Broken(f"never true: {strange}")
        if lost := (self.before & true & set(self.around.since)) - found:
            raise Broken(f"lost although true: {lost}")
        self.before = found
        return found

    async def forever(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(0.03)


# --- the process -------------------------------------------------------------------------------------------------


class Zygote:
    """Forks the real command again and again, without the half second that imports take."""

    def __init__(self, directory: Path, backend: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.lab.firewall_sync_zygote", str(directory / "sync.log")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.words = [
            "firewall", "sync", "--watch", "--backend", backend, "--set", SETS.name, "--server", f"http://127.0.0.1:{HTTP_PORT}",
            "--dns", f"127.0.0.1:{DNS_PORT}", "--state", str(directory / "state"), "--every", "1", "--ttl-least", "1",
            "--linger", str(LINGER), "--role", "relay", "--audit", str(directory / "audit"),
        ]  # fmt: skip

    def start(self) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(self.words) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


async def until(condition: object, what: str, patience: float = PATIENCE) -> float:
    """How long it took. `condition`: an async function."""
    started = time.monotonic()
    while not await condition():  # type: ignore[operator]
        if time.monotonic() - started > patience:
            raise Broken(f"after {patience:.0f} s: {what}")
        await asyncio.sleep(0.03)
    return time.monotonic() - started


async def many(runs: int, around: Around, watch: Watch, zygote: Zygote) -> dict[str, object]:
    """Fill it once; then kill, change and break things; then let it rest."""
    pid = zygote.start()

    async def right() -> bool:
        return await watch.look() == around.true()

    await until(right, "not filled at first")
    watching = asyncio.create_task(watch.forever())
    reboots = 0
    for _ in range(runs):
        await around.shake()
        await asyncio.sleep(around.random.choice((0.05, 0.2, 0.5, 1.2)) * around.random.random())
        os.kill(pid, signal.SIGKILL)
        if watching.done():
            await watching
        if around.random.random() < 0.15:
            reboots += 1
            pid = await reboot(around, watch, zygote)
        else:
            pid = zygote.start()
    around.faults.clear()
    await around.set_dns()
    try:
        calm = await until(right, "what is held is what is true")
    except Broken as broken:
        now, true = await held(), around.true()
        raise Broken(f"{broken}; too much {now - true}, too little {true - now}") from None
    added = await until_added(around, watch)
    os.kill(pid, signal.SIGKILL)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    return {
        "runs": runs,
        "reboots": reboots,
        "looks": watch.looks,
        "right_after": round(calm, 2),
        "added": added,
    }


async def reboot(around: Around, watch: Watch, zygote: Zygote) -> int:
    """Nothing is left but the disk, and nobody answers: the set is filled from what was known."""
    watch.rebooted = True
    before = await held() & around.true()
    SETS.wipe()
    SETS.make()
    faults, around.faults = around.faults, {"server-down", "dns-down"}
    await around.set_dns()
    pid = zygote.start()

    async def back() -> bool:
        return await held() >= before & around.true()

    await until(back, f"not filled again from the disk: {before}")
    around.faults = faults
    await around.set_dns()
    watch.before, watch.rebooted = set(), False
    return pid


async def until_added(around: Around, watch: Watch) -> float:
    """How long a new relay takes."""
    name = next(f"{n}b" for n in range(1, 9))
    around.next += 1
    around.names[name] = (f"198.51.{around.next >> 8}.{around.next & 255}", f"2001:db8::{around.next:x}")
    new = {ip_address(text) for text in around.names[name]}
    around.ever |= new
    assert around.dns is not None
    around.dns.changed(around.full_map())

    async def there() -> bool:
        return new <= await held()

    return round(await until(there, "the new relay is not in the set"), 2)


@asynccontextmanager
async def surroundings(seed: int, directory: Path) -> AsyncIterator[Around]:
    around = Around(seed, directory)
    app = Starlette(routes=[Route("/derpmap/default", around.served)])
    await around.set_dns()
    async with listening(app, "127.0.0.1", HTTP_PORT):
        yield around
        around.over.set()
        await asyncio.sleep(0)
    around.faults = {"dns-down"}
    await around.set_dns()


async def main(runs: int, seed: int, directory: Path, backend: str) -> None:
    zygote = Zygote(directory, backend)
    try:
        async with surroundings(seed, directory) as around:
            seen = await many(runs, around, Watch(around), zygote)
    finally:
        zygote.close()
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    SETS.make()
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]))
