"""A host whose way to the world leads past a firewall, in two namespaces, with 25 real relays beyond it.

host 192.0.2.100 --- eth0 [nftables of the host: its own rules]
 |
world 192.0.2.1 ... 192.0.2.25: relays 901 ... 925, TCP 443 and 80, UDP 3478; 2001:db8:1::1 ... likewise
      192.0.2.53: DNS, which says what `names` says
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from ginnel.core.relay.identity import SelfSigned, meta_certificate, read_leaf
from ginnel.lab.line import Impairment
from ginnel.lab.namespace import Inside, enter_host, enter_network, furnish
from ginnel.lab.wires import Wires
from ginnel.native import Relay
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from tests.shell.relays import ENTROPY, NOW, SECRET

T = TypeVar("T")
MADE = SelfSigned.make("192.0.2.1", ENTROPY, NOW)
PIN = read_leaf(MADE.certificate).pin
REGIONS = 25
ZONE = "example.net"


def v4(number: int) -> str:
    return f"192.0.2.{number}"


def v6(number: int) -> str:
    return f"2001:db8:1::{number:x}"


def host_name(number: int) -> str:
    return f"derp{900 + number}a.{ZONE}"


def node(number: int, **changes: Any) -> DERPNode:
    members: dict[str, Any] = {
        "name": f"{900 + number}a", "region_id": 900 + number, "host_name": host_name(number), "cert_name": PIN,
        "ipv4": v4(number), "ipv6": v6(number), "can_port80": True,
    }  # fmt: skip
    return DERPNode(**(members | changes))


def derp_map(count: int, **changes: Any) -> DERPMap:
    numbers = range(1, count + 1)
    return DERPMap(
        regions={
            900 + n: DERPRegion(
                region_id=900 + n, region_code=f"r{n}", region_name=f"City {n}", nodes=[node(n, **changes)]
            )
            for n in numbers
        }
    )


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@dataclass(slots=True)
class Walled:
    """names: what DNS says, by name; a name that is missing does not exist; None: no answer at all."""

    host: Inside
    world: Inside
    names: dict[str, tuple[str, ...] | None] = field(default_factory=dict)

    def block(self, *rules: str) -> None:
        """Rules of the host's output chain. Replaces those before."""
        chain = "\n".join(rules)
        self.host.run(
            ["nft", "-f", "-"],
            f"table inet wall\ndelete table inet wall\ntable inet wall {{\n chain out {{\n"
            f"type filter hook output priority 0;\n{chain}\n}}\n}}\n",
        )

    def lead(self, *rules: str) -> None:
        """Rules of the host's nat output chain."""
        chain = "\n".join(rules)
        self.host.run(
            ["nft", "-f", "-"],
            f"table ip lead\ndelete table ip lead\ntable ip lead {{\n chain out {{\n"
            f"type nat hook output priority -100;\n{chain}\n}}\n}}\n",
        )

    def open(self) -> None:
        self.host.run(
            ["nft", "-f", "-"], "table inet wall\ndelete table inet wall\ntable ip lead\ndelete table ip lead\n"
        )

    def on_host(self, work: Coroutine[Any, Any, T]) -> T:
        return self.host.call(asyncio.run, work)


@contextmanager
def walled(relays: int = REGIONS, wire: Impairment | None = None) -> Iterator[Walled]:
    """`wire`: what the way to the world does to packets; None: nothing."""
    name = f"gv{os.getpid()}"
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        made = [f"{name}-{end}" for end in ("host", "world")]
        try:
            for one in made:
                ip("netns", "add", one)
                ip("-n", one, "link", "set", "lo", "up")
            if wire is None:
                ip("link", "add", "eth0", "netns", made[0], "type", "veth", "peer", "name", "eth0", "netns", made[1])
            else:
                stack.enter_context(_wired(made, Path(directory), wire))
            _addresses(made, relays)
            yield from _standing(made, Path(directory), relays)
        finally:
            for one in made:
                with suppress(subprocess.CalledProcessError):
                    ip("netns", "del", one)


@contextmanager
def _wired(made: list[str], directory: Path, wire: Impairment) -> Iterator[None]:
    """Its process ends with the threads that made it."""
    spaces = {one: Inside(one, lambda one=one: enter_network(one)) for one in made}  # type: ignore[misc]
    laid = Wires(directory).lay(spaces, {"way": (made[0], "eth0", made[1], "eth0")}, {"way": wire})
    try:
        yield
    finally:
        laid.stop()
        for space in spaces.values():
            space.close()


def _addresses(made: list[str], relays: int) -> None:
    lines = [f"addr add {v4(n)}/24 dev eth0\naddr add {v6(n)}/64 dev eth0 nodad\n" for n in (*range(1, relays + 1), 53)]
    for one, batch in ((made[0], "addr add 192.0.2.100/24 dev eth0\naddr add 2001:db8:1::100/64 dev eth0 nodad\n"),
                       (made[1], "".join(lines))):  # fmt: skip
        done = subprocess.run(
            ["ip", "-n", one, "-batch", "-"], input=batch, text=True, check=False, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        ip("-n", one, "link", "set", "eth0", "up")
    ip("-n", made[0], "route", "add", "default", "via", v4(1))
    ip("-n", made[0], "-6", "route", "add", "default", "via", v6(1))


def _standing(made: list[str], directory: Path, relays: int) -> Iterator[Walled]:
    furnish(directory, "walled")
    (directory / "etc/resolv.conf").write_text("nameserver 192.0.2.53\noptions timeout:1 attempts:1\n")
    host = Inside(made[0], lambda: enter_host(made[0], directory, "walled"))
    world = Inside(made[1], lambda: enter_network(made[1]))
    standing = Walled(host, world, {host_name(n): (v4(n), v6(n)) for n in range(1, relays + 1)})
    serving = [world.call(_relay, number) for number in range(1, relays + 1)]
    answering = world.socket(socket.SOCK_DGRAM, (v4(53), 53))
    thread = threading.Thread(target=_answer, args=(answering, standing), daemon=True)
    thread.start()
    try:
        yield standing
    finally:
        for relay in serving:
            relay.close()
        answering.sendto(b"", (v4(53), 53))
        thread.join(5)
        answering.close()
        host.close()
        world.close()


def _relay(number: int) -> Relay:
    chain = MADE.certificate + meta_certificate(SECRET.public(), bytes(32), NOW)
    places = (v4(number), f"[{v6(number)}]")
    return Relay(
        SECRET.raw, certificate=chain, certificate_key=MADE.key, splice=None, members_only=False, threads=1,
        tls=[f"{place}:443" for place in places], http=[f"{place}:80" for place in places],
        stun=[f"{place}:3478" for place in places],
    )  # fmt: skip


def _answer(answering: socket.socket, standing: Walled) -> None:
    while True:
        query, source = answering.recvfrom(4096)
        if not query:
            return
        answer = _answered(query, standing.names)
        if answer is not None:
            answering.sendto(answer, source)


def _answered(query: bytes, names: dict[str, tuple[str, ...] | None]) -> bytes | None:
    asked = dns.message.from_wire(query)
    question = asked.question[0]
    name = question.name.to_text(omit_final_dot=True).lower()
    if names.get(name, ()) is None:
        return None
    answer = dns.message.make_response(asked, recursion_available=True)
    kind = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}.get(question.rdtype, 0)
    found = [text for text in names.get(name) or () if (6 if ":" in text else 4) == kind]
    if name not in names:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    elif found:
        answer.answer.append(
            dns.rrset.from_text(question.name, 60, "IN", dns.rdatatype.to_text(question.rdtype), *found)
        )
    return answer.to_wire()
