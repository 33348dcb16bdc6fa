"""The router's port-mapping daemon: miniupnpd, which most home routers run, with one protocol switched on.

Room: lab. It writes its rules into chains that the router's own rules hold ready (`nats.mapper_table`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ginnel.lab import LabError
from ginnel.lab.namespace import Inside
from ginnel.lab.nats import MAPPER_CHAINS, MAPPER_TABLE
from ginnel.lab.processes import Process, start
from ginnel.lab.topology import MappingProtocol, Router

START_LIMIT = 5.0
READY = r"HTTP listening on port|Listening for NAT-PMP/PCP"
UUID = "8d1c1c6e-2c1b-4b0e-9d55-6f1a3d3a6c11"


def configuration(protocol: MappingProtocol) -> str:
    """miniupnpd.conf: hosts may map what they like, for themselves alone."""
    upnp = protocol == "upnp"
    settings = {
        "ext_ifname": "wan0",
        "listening_ip": "lan0",
        "enable_upnp": "yes" if upnp else "no",
        "enable_natpmp": "no" if upnp else "yes",
        "secure_mode": "yes",
        "upnp_table_name": MAPPER_TABLE,
        "upnp_nat_table_name": MAPPER_TABLE,
        **MAPPER_CHAINS,
        "uuid": UUID,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items()) + "allow 1024-65535 0.0.0.0/0 1024-65535\n"


def start_mapper(router: Router, space: Inside, directory: Path, *, outlives_us: bool = False) -> Process:
    """Run it in the router's namespace; directory: the router's own. Returns when it answers its hosts."""
    if router.maps_by is None:
        raise ValueError(f"{router.name} maps no ports")
    program = shutil.which("miniupnpd")
    if program is None:
        raise LabError(
            "miniupnpd is not installed, and routers that map ports run it: apt-get install miniupnpd-nftables"
        )
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    settings = directory / "miniupnpd.conf"
    settings.write_text(configuration(router.maps_by))
    argv = [program, "-d", "-f", str(settings), "-P", str(directory / "miniupnpd.pid")]
    process = start(space, directory / "logs", "miniupnpd", argv, {}, cwd=directory, outlives_us=outlives_us)
    process.wait_for_line(READY, START_LIMIT)
    return process
