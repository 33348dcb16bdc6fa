"""One lab that stands: namespaces, links, rules; built in a fraction of a second, torn down whatever happens.

Room: lab.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType

from ginnel.lab import LabError
from ginnel.lab.kinds import SERVER
from ginnel.lab.line import Impairment
from ginnel.lab.mapper import start_mapper
from ginnel.lab.namespace import Inside, enter_host, enter_network, furnish, run
from ginnel.lab.plan import Plan, plan
from ginnel.lab.processes import Process, start
from ginnel.lab.registry import claim, demolish, keep, sweep
from ginnel.lab.topology import INTERNET, OBSERVER, Topology
from ginnel.lab.wires import Wires

PROGRAMS = {"ip": "iproute2", "nft": "nftables", "conntrack": "conntrack", "setpriv": "util-linux"}
ALL_NAMESPACES = {
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
}
BRIDGES = {  # br_netfilter would translate addresses in the bridge, before the router sees the packet
    "net/bridge/bridge-nf-call-iptables": "0",
    "net/bridge/bridge-nf-call-ip6tables": "0",
}
SERVER_NAME = "server.example"
MAPPER = ".mapper"  # no name of a host ends so; a router's directory is no home to step into
FORWARDING = {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}


def can_stand() -> None:
    """LabError when this machine, or who asks, cannot have a lab."""
    if os.geteuid() != 0:
        raise LabError("a lab is made of network namespaces and needs root: run it with sudo, or under unshare -Urnm")
    look_in_sbin()
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            raise LabError(f"{program} is not installed, and a lab is built with it: apt-get install {package}")


def look_in_sbin() -> None:
    """Where Debian keeps nft and conntrack, and where an ordinary user's PATH does not look."""
    path = os.environ.get("PATH", os.defpath).split(":")
    os.environ["PATH"] = ":".join([*path, *(place for place in ("/usr/sbin", "/sbin") if place not in path)])


class Lab:
    """A context: what it built is gone when the block ends, unless `leave_standing` was called.

    hosts and routers are reached by their topology's names; `addresses` are their outside IPv4
    addresses, `plan.addresses6` IPv6.
    lengths: which names' links upwards are no plain cable, and what each does both ways (`wires` changes it).
    """

    def __init__(self, topology: Topology, lengths: Mapping[str, Impairment] | None = None) -> None:
        can_stand()
        self.topology = topology
        self.lengths = dict(lengths or {})
        self.plan: Plan = plan(topology)
        self.addresses = self.plan.addresses
        self.spaces: dict[str, Inside] = {}
        self.processes: list[Process] = []
        self.mappers: dict[str, Process] = {}
        sweep()
        self.directory, self.lock = claim()
        self.name = self.directory.name
        self.wires = Wires(self.directory)
        self.standing = False
        self.programs_outlive_us = False

    def __enter__(self) -> Lab:
        try:
            self.build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def build(self) -> None:
        names = list(self.plan.namespaces)
        lines = [f"netns add {self.name}-{name}" for name in names]
        wired = {veth[0]: veth for veth in self.plan.veths if veth[0] in self.lengths}
        for below, interface, above, port in self.plan.veths:
            if below in wired:
                continue
            lines.append(
                f"link add {interface} netns {self.name}-{below} type veth peer name {port} netns {self.name}-{above}"
            )
        try:
            run(["ip", "-batch", "-"], "\n".join(lines) + "\n")
        except LabError as error:
            raise LabError(f"cannot make network namespaces here: {error}") from None
        for name in names:
            self.spaces[name] = Inside(f"{self.name}-{name}", self.enterer(name))
        if wired:
            outlives_us = self.programs_outlive_us
            self.processes.append(self.wires.lay(self.spaces, wired, self.lengths, outlives_us=outlives_us))
        for name in names:
            self.furnish_network(name)
        self.start_mappers()

    def start_mappers(self) -> None:
        """Each router that maps ports gets a fresh daemon, which knows no mapping."""
        for router in self.topology.routers:
            if router.maps_by is not None:
                old = self.mappers.pop(router.name, None)
                if old is not None:
                    old.kill()
                self.mappers[router.name] = start_mapper(
                    router,
                    self.spaces[router.name],
                    self.directory / f"{router.name}{MAPPER}",
                    outlives_us=self.programs_outlive_us,
                )

    def enterer(self, name: str) -> Callable[[], None]:
        if name not in self.host_names():
            return partial(enter_network, f"{self.name}-{name}")
        furnish(self.directory / name, name)
        self.name_the_server(name)
        return partial(enter_host, f"{self.name}-{name}", self.directory / name, name)

    def name_the_server(self, host: str) -> None:
        """Where it has addresses of both families it needs a name, by which a host finds the one it can reach."""
        if self.topology.has_v6:
            with (self.directory / host / "etc/hosts").open("a") as hosts:
                hosts.writelines(f"{address} {SERVER_NAME}\n" for address in self.server_addresses)

    @property
    def server_addresses(self) -> list[str]:
        known = (self.plan.addresses.get(SERVER), self.plan.addresses6.get(SERVER))
        return [address for address in known if address is not None]

    def host_names(self) -> list[str]:
        return [host.name for host in self.topology.hosts]

    def furnish_network(self, name: str) -> None:
        """Rules before links are up: no packet is tracked that came before them."""
        space, want = self.spaces[name], self.plan.namespaces[name]
        bridges = BRIDGES if Path("/proc/sys/net/bridge").exists() else {}
        space.sysctls(ALL_NAMESPACES | bridges | (FORWARDING if want.forwards else {}))
        if self.topology.has_v6:
            space.sysctls({f"net/ipv6/conf/{device}/accept_dad": "0" for device in self.plan.devices(name)})
        space.run(["nft", "-f", "-"], want.rules)
        space.run(["ip", "-batch", "-"], "\n".join(want.lines) + "\n")

    def reset_nats(self) -> None:
        """Load the rules anew and forget every tracked flow, as after a reboot of all routers at once."""
        for name, want in self.plan.namespaces.items():
            if name in self.host_names() or name == OBSERVER:
                continue
            self.spaces[name].run(["nft", "-f", "-"], want.rules)
            self.spaces[name].run(["conntrack", "-F"])
            if name in self.plan.addresses6:
                self.spaces[name].run(["conntrack", "-F", "-f", "ipv6"])
        self.start_mappers()

    def block(self, where: str, *statements: str) -> None:
        """From now on a router (or the internet) does what these nft statements say to packets that it forwards."""
        script = "".join(f"add rule ip lab faults {statement}\n" for statement in statements)
        self.spaces[where].run(["nft", "-f", "-"], script)

    def unblock(self, where: str = INTERNET) -> None:
        self.spaces[where].run(["nft", "flush", "chain", "ip", "lab", "faults"])

    def start(self, host: str, program: str, argv: list[str], env: dict[str, str] | None = None) -> Process:
        """Run a program on a host; its output goes to `logs/PROGRAM.out` and `.err` in the host's directory."""
        logs = self.directory / host / "logs"
        process = start(self.spaces[host], logs, program, argv, env or {}, outlives_us=self.programs_outlive_us)
        self.processes.append(process)
        return process

    def inside_path(self, *parts: str) -> str:
        """How a program on a host calls a file of its host's directory."""
        return str(Path("/run/lab", *parts))

    def copy_logs(self, target: Path) -> None:
        """What every program said, by host; files of an earlier run under the same names are overwritten."""
        for host in self.host_names():
            shutil.copytree(self.directory / host / "logs", target / host, dirs_exist_ok=True)
        for router in self.mappers:
            shutil.copytree(self.directory / f"{router}{MAPPER}" / "logs", target / router, dirs_exist_ok=True)

    def leave_standing(self, scenario: str) -> None:
        self.standing = True
        keep(self.directory, scenario)

    def close(self) -> None:
        """Idempotent. Threads first: one that lives inside keeps its namespace, and its programs die with it."""
        if not self.standing:
            for process in (*self.processes, *self.mappers.values()):
                process.kill()
        for space in self.spaces.values():
            space.close()
        if not self.standing and self.directory.exists():
            demolish(self.directory)
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1
