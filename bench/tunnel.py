"""One TCP stream through two tunnel ends on one machine: ours and userspace WireGuard, in turns. Needs root.

`tunnel/tcp`: two hosts on one wire. Peers: wireguard-go of Debian (TUN and UDP without offload) and the newest, named
by `BENCH_WIREGUARD_GO` or built by the Go toolchain. `tunnel/relayed-tcp`: the same stream between two daemons whose
sites let no UDP through, so that a relay carries it: ours by ours, and official daemons by the official relay. The
notes have two pumps of ours at a relay without daemons, routers and address translation around them.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import statistics
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nacl.public import PrivateKey

from bench import _relayed as relayed
from bench.netns import inside, run, two_hosts, two_hosts_and_a_relay, within
from ginnel.core.relay.identity import ENTROPY_SIZE, SelfSigned, meta_certificate, read_leaf
from ginnel.native import Pump, Relay
from ginnel.words import NodeKey, WallTime

SECONDS = 3
MTU = 1280
NEWEST = "golang.zx2c4.com/wireguard@v0.0.0-20250521234502-f333402bd9cb"
ADDRESSES = ("100.64.0.1", "100.64.0.2")
Spaces = tuple[str, str]


@dataclass(frozen=True)
class Contender:
    """A tunnel under test: `up` makes it stand between two namespaces."""

    name: str
    up: Callable[[], AbstractContextManager[Spaces]]


def rows(n: int) -> Iterator[dict[str, object]]:
    """The rows of this bench; each figure is the median of `n` runs that alternate with the other side's."""
    if os.geteuid() != 0:
        yield from (_absent(name, "needs root") for name in ("tunnel/tcp", "tunnel/relayed-tcp"))
        return
    ours = Contender("ginnel", _ours)
    for name, binary, limit_ratio in _wireguard_go():
        if binary is None:
            yield _absent("tunnel/tcp", f"{name} is absent")
        else:
            theirs = Contender(name, partial(_theirs, binary))
            yield _row("tunnel/tcp", _in_turns([ours, theirs], n), limit_ratio=limit_ratio)
    yield _relayed_row(n)


def _relayed_row(n: int) -> dict[str, object]:
    missing = relayed.absent()
    names = [relayed.OURS] if missing else [relayed.OURS, relayed.THEIRS]
    figures: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(n):
        for name in names:
            figures[name].append(relayed.gbit_per_second(name, SECONDS))
    found = _row("tunnel/relayed-tcp", figures, limit_ratio=3.0)
    (bare,) = _in_turns([Contender("pumps", _ours_relayed)], n).values()
    told = [str(found["notes"]), f"two pumps alone {statistics.median(bare):.2f} ({min(bare):.2f}-{max(bare):.2f})"]
    found["notes"] = "; ".join([*told, missing] if missing else told)
    return found


def _wireguard_go() -> Iterator[tuple[str, str | None, float]]:
    """Each peer's name, its binary if there is one, and how many times as fast we must be."""
    yield "wireguard-go of Debian", shutil.which("wireguard-go", path="/usr/bin:/usr/sbin"), 1.5
    yield "newest wireguard-go", os.environ.get("BENCH_WIREGUARD_GO") or _built_by_go(), 1.3


def _built_by_go() -> str | None:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        return None
    target = Path.home() / ".cache" / "ginnel-bench" / NEWEST.rpartition("@")[2]
    binary = target / "wireguard"
    if not binary.exists():
        environment = {**os.environ, "GOBIN": str(target)}
        built = subprocess.run((go, "install", NEWEST), env=environment, capture_output=True, check=False, timeout=600)
        if built.returncode != 0:
            return None
    return str(binary)


def _in_turns(contenders: Sequence[Contender], n: int) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(n):
        for contender in contenders:
            with contender.up() as spaces:
                figures[contender.name].append(_stream(*spaces))
    return figures


def _stream(a: str, b: str) -> float:
    """Gbit/s of one TCP stream from a to b, as the receiver counts it."""
    run(*within(a, "ping", "-c", "2", "-i", "0.2", "-W", "3", ADDRESSES[1]))
    command = within(b, "iperf3", "--server", "--one-off", "--bind", ADDRESSES[1])
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_for_listener(b)
        report = json.loads(run(*within(a, "iperf3", "--client", ADDRESSES[1], "--time", str(SECONDS), "--json")))
        server.wait(10)
        return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9
    finally:
        server.kill()
        server.wait()


def _wait_for_listener(space: str) -> None:
    end = time.monotonic() + 10
    while "5201" not in run(*within(space, "ss", "-Htln", "sport", "=", ":5201")):
        if time.monotonic() > end:
            raise TimeoutError("iperf3 does not listen")
        time.sleep(0.02)


@contextmanager
def _ours() -> Iterator[Spaces]:
    with two_hosts("gp-bench") as spaces, _two_pumps(spaces) as (pumps, keys):
        ports = []
        for space, pump in zip(spaces, pumps, strict=True):
            with inside(space):
                ports.append(pump.bind(0)[0])
        pumps[0].steer(keys[1], ("192.0.2.2", ports[1]), 0)
        pumps[1].steer(keys[0], ("192.0.2.1", ports[0]), 0)
        yield spaces


@contextmanager
def _ours_relayed() -> Iterator[Spaces]:
    with two_hosts_and_a_relay("gp-bench") as (a, b, r), _relay(r) as pin, _two_pumps((a, b)) as (pumps, keys):
        for space, pump, address in zip((a, b), pumps, ("192.0.2.9", "198.51.100.9"), strict=True):
            with inside(space):
                pump.relay_open(1, "relay.example.org", [(address, 443)], pin)
            _wait_for_relay(pump)
        pumps[0].steer(keys[1], None, 1)
        pumps[1].steer(keys[0], None, 1)
        yield a, b


def _wait_for_relay(pump: Pump) -> None:
    end = time.monotonic() + 10
    while not any(aside[0] == "relay-up" for aside in pump.drain(100)):
        if select.select([pump], [], [], end - time.monotonic()) == ([], [], []):
            raise TimeoutError("the relay does not answer")


@contextmanager
def _two_pumps(spaces: Spaces) -> Iterator[tuple[tuple[Pump, Pump], tuple[bytes, bytes]]]:
    secrets = PrivateKey.generate(), PrivateKey.generate()
    keys = bytes(secrets[0].public_key), bytes(secrets[1].public_key)
    with ExitStack() as stack:
        pumps = Pump(bytes(secrets[0])), Pump(bytes(secrets[1]))
        for number, (space, pump) in enumerate(zip(spaces, pumps, strict=True)):
            stack.callback(pump.close)
            with inside(space):
                pump.open_tun("gnl0", MTU)
            _address(space, "gnl0", number)
            pump.set_addresses([ADDRESSES[number]])
            pump.set_filter([(["*"], [("*", 0, 65535)], [1, 6, 17])])
            pump.set_peer(keys[1 - number], [ADDRESSES[1 - number]])
        yield pumps, keys


@contextmanager
def _relay(space: str) -> Iterator[str]:
    secret, now = PrivateKey.generate(), WallTime(time.time())
    leaf = SelfSigned.make("relay.example.org", os.urandom(ENTROPY_SIZE), now)
    meta = meta_certificate(NodeKey(bytes(secret.public_key)), os.urandom(32), now)
    with inside(space):
        relay = Relay(
            bytes(secret),
            certificate=leaf.certificate + meta,
            certificate_key=leaf.key,
            tls=["0.0.0.0:443"],
            http=[],
            stun=[],
            splice=None,
            members_only=False,
        )
    try:
        yield read_leaf(leaf.certificate).pin
    finally:
        relay.close()


@contextmanager
def _theirs(binary: str) -> Iterator[Spaces]:
    secrets = PrivateKey.generate(), PrivateKey.generate()
    with two_hosts("gp-bench") as spaces, ExitStack() as stack:
        for number, space in enumerate(spaces):
            other = 1 - number
            device = f"gpwg{number}"
            stack.enter_context(_wireguard(space, binary, device))
            config = (
                f"[Interface]\nPrivateKey={b64encode(bytes(secrets[number])).decode()}\nListenPort=51820\n"
                f"[Peer]\nPublicKey={b64encode(bytes(secrets[other].public_key)).decode()}\n"
                f"AllowedIPs={ADDRESSES[other]}/32\nEndpoint=192.0.2.{other + 1}:51820\n"
            )
            run(*within(space, "wg", "setconf", device, "/dev/stdin"), input=config)
            _address(space, device, number)
        yield spaces


@contextmanager
def _wireguard(space: str, binary: str, device: str) -> Iterator[None]:
    process = subprocess.Popen(within(space, binary, "-f", device), stderr=subprocess.DEVNULL)
    try:
        control = Path(f"/var/run/wireguard/{device}.sock")
        end = time.monotonic() + 10
        while not _answers(control):
            if time.monotonic() > end:
                raise TimeoutError(f"{binary} does not start")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _answers(control: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return control.exists() and sock.connect_ex(str(control)) == 0


def _address(space: str, device: str, number: int) -> None:
    run("ip", "-n", space, "addr", "add", f"{ADDRESSES[number]}/24", "dev", device)
    run("ip", "-n", space, "link", "set", device, "mtu", str(MTU), "up")


def _row(
    name: str, figures: dict[str, list[float]], *, limit: float | None = None, limit_ratio: float | None = None
) -> dict[str, object]:
    ours, *others = figures.items()
    peer, theirs = others[0] if others else (None, [])
    median, their_median = statistics.median(ours[1]), statistics.median(theirs) if theirs else None
    spread = {who: f"{min(values):.2f}-{max(values):.2f}" for who, values in figures.items()}
    return {
        "name": name,
        "ours": round(median, 2),
        "unit": "Gbit/s",
        "peer": peer,
        "theirs": None if their_median is None else round(their_median, 2),
        "ratio": None if their_median is None else round(median / their_median, 2),
        "limit": limit,
        "limit_ratio": limit_ratio,
        "n": len(ours[1]),
        "notes": f"spread {spread}, {SECONDS} s each, MTU {MTU}, {os.cpu_count()} cores",
    }


def _absent(name: str, why: str) -> dict[str, object]:
    absent = dict.fromkeys(("ours", "peer", "theirs", "ratio", "limit", "limit_ratio"))
    return {"name": name, **absent, "unit": "Gbit/s", "n": 0, "notes": why}
