"""Two daemons that only a relay joins, ours and the official ones, each with the relay of its own kind.

Both log in at a server of ours. UDP is blocked at both sites; ours are relayed by the server's own relay, the official
daemons by a derper on the same machine, which is then the only relay of the map.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import _lab as lab
from bench import _peers
from ginnel.lab import LabError
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import SERVER, network
from ginnel.lab.members import Server
from ginnel.lab.processes import until
from ginnel.lab.topology import Host, Topology

KIND = "udp-blocked"
RELAY = "derper"
REGION = 950
OWN_REGION = 900
OURS, THEIRS = "ginnel", "tailscaled and derper"
LIMIT = 30.0
IPERF_PORT = 5201


def absent() -> str:
    """ "" where the official programs are there."""
    return lab.official_absent() or ("" if _peers.find("BENCH_DERPER") else _peers.absent("BENCH_DERPER"))


class WithDerper(Server):
    """A server of ours whose map has derper alone."""

    def settings(self) -> list[str]:
        relay = _start_derper(self.lab)
        (self.lab.directory / SERVER / "extra.json").write_text(json.dumps({"Regions": {str(REGION): relay}}))
        config = f'[relays]\nextra = ["{self.lab.inside_path("extra.json")}"]\nremove = [{OWN_REGION}]\n'
        (self.lab.directory / SERVER / "server.toml").write_text(config)
        return ["--config", self.lab.inside_path("server.toml")]


def _start_derper(stage: Lab) -> dict[str, Any]:
    """Its region for the DERP map, with its certificate pinned."""
    address, home = stage.addresses[RELAY], stage.inside_path("state")
    argv = [str(_peers.find("BENCH_DERPER")), "-c", f"{home}/derper.key", "-certmode", "manual", "-certdir", home]
    argv += ["-hostname", address, "-a", f"{address}:443", "-http-port", "-1"]
    process = stage.start(RELAY, "derper", argv)
    certificate = stage.directory / RELAY / "state" / f"{address}.crt"
    pin = until(lambda: _pin(certificate), LIMIT, "derper's certificate", process)
    node = {"Name": f"{REGION}a", "RegionID": REGION, "HostName": address, "IPv4": address, "CertName": pin}
    return {"RegionID": REGION, "RegionCode": "derper", "RegionName": "derper", "Nodes": [node]}


def _pin(certificate: Path) -> str | None:
    try:
        der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    except (OSError, ValueError):
        return None
    return f"sha256-raw:{hashlib.sha256(der).hexdigest()}"


def gbit_per_second(side: str, seconds: int) -> float:
    """Of one TCP stream, as its receiver counts it, in a lab of its own."""
    with _pair(side) as (a, b):
        return _stream(a, b, seconds)


@contextmanager
def _pair(name: str) -> Iterator[tuple[lab.Member, lab.Member]]:
    hosts = {"a": KIND, "b": KIND}
    whole = network(**hosts)
    with Lab(Topology(whole.routers, (*whole.hosts, Host(RELAY)))) as stage:
        server = Server(stage) if name == OURS else WithDerper(stage)
        server.start()
        side = lab.sides(server)[0 if name == OURS else 1]
        a, b = (lab.Member(stage, host, side) for host in hosts)
        for member in (a, b):
            member.start()
        a.knows(b)
        b.knows(a)
        yield a, b


def _stream(a: lab.Member, b: lab.Member, seconds: int) -> float:
    spaces, address = a.lab.spaces, b.address
    spaces[a.host].run(["ping", "-c", "2", "-i", "0.2", "-w", "15", address])
    listener = b.lab.start(b.host, "iperf3", ["iperf3", "--server", "--one-off", "--bind", address])
    until(lambda: _listens(b) or None, LIMIT, "iperf3 to listen", listener)
    report = json.loads(spaces[a.host].run(["iperf3", "--client", address, "--time", str(seconds), "--json"]))
    if a.direct_to(address):
        raise LabError(f"{a.side.name}: the pair became direct, so nothing was relayed")
    listener.wait(LIMIT)
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9


def _listens(member: lab.Member) -> bool:
    found = member.lab.spaces[member.host].run(["ss", "-Htln", "sport", "=", f":{IPERF_PORT}"])
    if not found:
        time.sleep(lab.ASK_AGAIN)
    return bool(found)
