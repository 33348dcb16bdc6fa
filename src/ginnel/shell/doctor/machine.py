"""What this machine says of itself: TUN device, way out, who has a port, what else uses mesh addresses, its settings.

Room: shell.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from ginnel.core.doctor.evidence import Clash
from ginnel.core.node.actions import MeasureIcmp
from ginnel.core.node.routing import TABLE
from ginnel.shell.node.icmp import echo
from ginnel.shell.node.links import Links, read_links
from ginnel.shell.node.netlink import Netlink
from ginnel.wire import rtnetlink as rt
from ginnel.wire.rtnetlink import Kind
from ginnel.words import RegionId

CARRIER = IPv4Network("100.64.0.0/10")
TUN_DEVICE = Path("/dev/net/tun")
TUN_NUMBER = (10, 200)  # linux: Documentation/admin-guide/devices.txt
ANY_PORT = 9  # discard; nothing is sent
COVERED = 16
RESOLV_CONF, RESOLVED_CONF = Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")
STUB, RESOLVERS = "127.0.0.53", 4
SYSTEMD, UNIT = Path("/run/systemd/system"), "ginneld.service"
UNITS = tuple(map(Path, ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")))
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
ALL_TABLES, LOCAL_TABLE = 0, 255


# --- devices and routes ----------------------------------------------------------------------------------------------


def has_tun_device() -> bool:
    with suppress(OSError):
        found = TUN_DEVICE.stat()
        return stat.S_ISCHR(found.st_mode) and (os.major(found.st_rdev), os.minor(found.st_rdev)) == TUN_NUMBER
    return False


def links(tun: str) -> Links | None:
    try:
        return read_links(tun)
    except OSError:
        return None


def has_global_v6(found: Links) -> bool:
    return any(isinstance(local.address.ip, IPv6Address) and local.address.ip.is_global for local in found.addresses)


async def gateway_answers(found: Links, *, mark: int) -> bool | None:
    """None: it need not answer pings, and there may be none."""
    gateways = [ip for _, text in found.defaults if text and isinstance(ip := ip_address(text), IPv4Address)]
    if not gateways:
        return None
    payload = os.urandom(16)
    if await echo(MeasureIcmp(RegionId(0), gateways[0], payload), mark=mark) is not None:
        return True
    return False if _is_unresolved(str(gateways[0])) else None


def _is_unresolved(address: str) -> bool:
    """Nobody answered ARP for it."""
    with suppress(OSError):
        for line in Path("/proc/net/arp").read_text().splitlines()[1:]:
            fields = line.split()
            if len(fields) > 3 and fields[0] == address:
                return int(fields[2], 16) & 0x2 == 0
    return False


def clashes(found: Links, tun: str, own: Sequence[str], peers: Sequence[str]) -> tuple[Clash, ...]:
    """own, peers: mesh addresses. Addresses and routes of others in 100.64.0.0/10, and packets that go astray."""
    seen: list[Clash] = []
    for local in found.addresses:
        if local.address.ip in CARRIER:
            what = f"the address {local.address} on {local.interface}"
            seen.append(Clash(what, _covered(str(local.address.network), [*own, *peers])))
    for name, route in _other_routes(tun):
        prefix = route.destination
        if isinstance(prefix, IPv4Network) and prefix.prefixlen and prefix.subnet_of(CARRIER):
            seen.append(Clash(f"the route {prefix} by {name}", _covered(str(prefix), [*own, *peers])))
    astray = tuple(address for address in peers[:COVERED] if own and _leaves_by(address) not in ("", *own))
    if astray:
        seen.append(Clash("another route", astray, steals=True))
    return tuple(seen)


def _covered(prefix: str, addresses: Iterable[str]) -> tuple[str, ...]:
    network = ip_network(prefix)
    return tuple(text for text in addresses if (ip := ip_address(text)).version == network.version and ip in network)[
        :COVERED
    ]


def _other_routes(tun: str) -> list[tuple[str, rt.Route]]:
    """Of all tables but ours, through devices other than the tunnel."""
    try:
        with Netlink() as netlink:
            names = {link.index: link.name for link in map(rt.parse_link, netlink.dump(Kind.GET_LINK, rt.every_link()))}
            routes = list(map(rt.parse_route, netlink.dump(Kind.GET_ROUTE, rt.every_route(socket.AF_INET, ALL_TABLES))))
    except OSError:
        return []
    return [
        (names.get(route.index, "?"), route)
        for route in routes
        if route.table not in (TABLE, LOCAL_TABLE)
        and names.get(route.index) not in (tun, None, "lo")
        and route.kind == rt.UNICAST
    ]


def _leaves_by(address: str) -> str:
    """Our own address that a packet there would have; "": it cannot be sent, or nobody knows."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((address, ANY_PORT))
            return str(asking.getsockname()[0])
        except OSError:
            return ""


# --- what the system is set to ---------------------------------------------------------------------------------------


def resolvers() -> tuple[str, ...]:
    """As resolv.conf(5) names them; behind systemd-resolved's stub, the real ones."""
    found = _nameservers(RESOLV_CONF)
    return _nameservers(RESOLVED_CONF) if found == (STUB,) else found


def _nameservers(path: Path) -> tuple[str, ...]:
    with suppress(OSError, UnicodeDecodeError):
        lines = [line.split() for line in path.read_text().splitlines()]
        return tuple(words[1] for words in lines if len(words) > 1 and words[0] == "nameserver")[:RESOLVERS]
    return ()


def has_resolved() -> bool:
    return RESOLVED_CONF.exists() and shutil.which("resolvectl") is not None


def has_unit() -> bool:
    """systemd runs, and has a unit of ours."""
    return SYSTEMD.is_dir() and any((place / UNIT).exists() for place in UNITS)


def proxy() -> str:
    """Host and port alone: there may be a password beside them."""
    named = next((os.environ[name] for name in PROXIES if os.environ.get(name)), "")
    try:
        parts = urlsplit(named if "//" in named else f"//{named}")
        return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""
    except ValueError:
        return ""


# --- ports -----------------------------------------------------------------------------------------------------------


def holder_of(port: int) -> str:
    """The program that has the UDP port, as "name (process 12)"; "" where that cannot be seen."""
    inodes = {inode for table in ("udp", "udp6") for inode in _inodes(Path("/proc/net", table), port)}
    if not inodes:
        return ""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _has_socket(process, inodes):
            with suppress(OSError):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return ""


def _inodes(table: Path, port: int) -> Iterable[str]:
    with suppress(OSError):
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _has_socket(process: Path, inodes: set[str]) -> bool:
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]") in inodes:
                    return True
    return False
