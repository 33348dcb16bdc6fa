"""The pump on real devices and real sockets: two hosts on one wire, or with nothing but a relay between them."""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from bench.netns import hosts, inside, run, two_hosts, two_hosts_and_a_relay, wire, within
from nacl.public import PrivateKey

from ginnel.core.node.actions import NEVER_BY_UDP
from ginnel.core.relay.identity import ENTROPY_SIZE, SelfSigned, meta_certificate, read_leaf
from ginnel.native import Pump, Relay
from ginnel.words import NodeKey, WallTime

if TYPE_CHECKING:
    from ginnel._native import PumpAside

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces and TUN devices"),
]

ANYTHING = [(["*"], [("*", 0, 65535)], [1, 6, 17, 58])]
DISCO = b"TS\xf0\x9f\x92\xac" + bytes(32 + 24) + b"sealed with a tag"
STUN_ANSWER = bytes.fromhex("0101000c2112a442000102030405060708090a0b00200008000183bbea12d545")
UDP_SEGMENT = 103
"""linux/udp.h; Python has no name for it."""

RUN = os.getpid()
"""In every name that two test processes could both want."""

PATIENCE = 10.0
"""Seconds after which a wait counts as failed; nothing here takes a tenth of it."""


@dataclass(frozen=True)
class Node:
    """A pump in a namespace, with what its peers need to know."""

    space: str
    pump: Pump
    key: bytes
    secret: bytes
    ip: str
    ip6: str
    port: int

    def allowed(self) -> list[str]:
        return [f"{self.ip}/32", f"{self.ip6}/128"]

    def wait_for(self, want: Callable[[PumpAside], bool]) -> PumpAside:
        """The first aside that fits; those before it are dropped."""
        end = time.monotonic() + PATIENCE
        while (left := end - time.monotonic()) > 0:
            select.select([self.pump], [], [], left)
            for aside in self.pump.drain(1):
                if want(aside):
                    return aside
        raise AssertionError("the aside did not come")

    def wait_for_kind(self, kind: str) -> PumpAside:
        return self.wait_for(lambda aside: aside[0] == kind)

    def ping(self, address: str, count: int = 2, wait: float = 2.0) -> bool:
        command = ("ping", "-c", str(count), "-i", "0.1", "-W", str(wait), address)
        return subprocess.run(within(self.space, *command), capture_output=True, check=False).returncode == 0


def until(true: Callable[[], bool]) -> None:
    """Wait for a counter or the like: there is no event for those."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not become true"
        threading.Event().wait(0.005)


@contextmanager
def node(space: str, number: int) -> Iterator[Node]:
    """A node 100.64.0.<number> that lets everything in and has no peers yet."""
    secret = PrivateKey.generate()
    pump = Pump(bytes(secret))
    ip, ip6 = f"100.64.0.{number}", f"fd7a:115c:a1e0::{number}"
    try:
        with inside(space):
            pump.open_tun("gnl0", 1280)
            port, _ = pump.bind(0)
        run("ip", "-n", space, "addr", "add", f"{ip}/24", "dev", "gnl0")
        run("ip", "-n", space, "addr", "add", f"{ip6}/64", "dev", "gnl0", "nodad")
        run("ip", "-n", space, "link", "set", "gnl0", "up")
        pump.set_addresses([f"{ip}/32", f"{ip6}/128"])
        pump.set_filter(ANYTHING)
        yield Node(space, pump, bytes(secret.public_key), bytes(secret), ip, ip6, port)
    finally:
        pump.close()


@contextmanager
def two_nodes(a: str, b: str) -> Iterator[tuple[Node, Node]]:
    """Two nodes that know each other's keys and not yet a path."""
    with node(a, 1) as one, node(b, 2) as other:
        one.pump.set_peer(other.key, other.allowed())
        other.pump.set_peer(one.key, one.allowed())
        yield one, other


@pytest.fixture(scope="module")
def wired() -> Iterator[tuple[str, str]]:
    with two_hosts(f"gp-w{RUN}") as names:
        yield names


@pytest.fixture
def apart(wired: tuple[str, str]) -> Iterator[tuple[Node, Node]]:
    with two_nodes(*wired) as nodes:
        yield nodes


@pytest.fixture
def pair(apart: tuple[Node, Node]) -> tuple[Node, Node]:
    a, b = apart
    a.pump.steer(b.key, ("192.0.2.2", b.port), 0)
    b.pump.steer(a.key, ("192.0.2.1", a.port), 0)
    return a, b


def echo_once(listener: socket.socket) -> None:
    with suppress(OSError):
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)


def carry(a: Node, b: Node, address: str, data: bytes) -> bytes:
    """Send data over TCP from a to an echo on b, and return what comes back."""
    with ExitStack() as stack:
        with inside(b.space):
            listener = stack.enter_context(socket.create_server((address, 0), family=_family(address)))
        server = threading.Thread(target=echo_once, args=(listener,))
        server.start()
        stack.callback(server.join)
        with inside(a.space):
            client = stack.enter_context(socket.socket(_family(address)))
        client.settimeout(PATIENCE)
        client.connect(listener.getsockname())
        sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
        sender.start()
        stack.callback(sender.join)
        back = bytearray()
        while piece := client.recv(65536):
            back += piece
        return bytes(back)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET


def udp(space: str, address: str, port: int = 0) -> socket.socket:
    with inside(space):
        sock = socket.socket(_family(address), socket.SOCK_DGRAM)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
    sock.settimeout(PATIENCE)
    return sock


def test_ping_and_a_stream_pass_in_both_families(pair: tuple[Node, Node]) -> None:
    a, b = pair
    assert a.ping(b.ip)
    assert b.ping(a.ip6)
    data = os.urandom(3_000_000)
    assert carry(a, b, b.ip, data) == data
    assert carry(b, a, a.ip6, data) == data


def test_the_shell_hears_of_handshake_sending_and_receiving(pair: tuple[Node, Node]) -> None:
    a, b = pair
    assert a.ping(b.ip)
    seen = a.pump.drain(100)
    assert ("sent", b.key) in seen
    assert ("handshake", b.key) in seen
    assert ("received", b.key, ("192.0.2.2", b.port)) in seen
    (peer,) = a.pump.peers()
    assert peer.key == b.key
    assert peer.tx_bytes > 148
    assert peer.rx_bytes > 92
    assert peer.last_handshake == pytest.approx(time.time(), abs=PATIENCE)


def test_sent_and_received_are_told_at_most_once_a_second(pair: tuple[Node, Node]) -> None:
    a, b = pair
    assert a.ping(b.ip)
    a.pump.drain(100)
    start = time.monotonic()
    assert a.ping(b.ip, count=8)
    seconds = time.monotonic() - start
    kinds = [aside[0] for aside in a.pump.drain(100)]
    assert kinds.count("sent") <= seconds + 1
    assert kinds.count("received") <= seconds + 1


def test_outer_ipv6_carries_the_tunnel(apart: tuple[Node, Node]) -> None:
    a, b = apart
    a.pump.steer(b.key, ("2001:db8::2", b.port), 0)
    b.pump.steer(a.key, ("2001:db8::1", a.port), 0)
    assert a.ping(b.ip)


def test_disco_and_stun_come_up_with_their_source(pair: tuple[Node, Node]) -> None:
    a, b = pair
    with udp(b.space, "192.0.2.2") as probe:
        for datagram, kind in ((DISCO, "disco"), (STUN_ANSWER, "stun")):
            probe.sendto(datagram, ("192.0.2.1", a.port))
            assert a.wait_for_kind(kind) == (kind, ("192.0.2.2", probe.getsockname()[1]), datagram)


def test_disco_goes_out_by_the_tunnel_s_own_socket(pair: tuple[Node, Node]) -> None:
    a, b = pair
    with udp(b.space, "192.0.2.2") as probe:
        a.pump.send_udp(("192.0.2.2", probe.getsockname()[1]), DISCO)
        assert probe.recvfrom(2000) == (DISCO, ("192.0.2.1", a.port))


def test_what_cannot_be_sent_is_told(pair: tuple[Node, Node]) -> None:
    a, _ = pair
    a.pump.send_udp(("198.51.100.1", 9), DISCO)
    kind, to, errno = a.wait_for_kind("unsendable")
    assert (kind, to) == ("unsendable", ("198.51.100.1", 9))
    assert errno > 0


def test_without_a_path_packets_wait_and_the_search_is_started(apart: tuple[Node, Node]) -> None:
    a, b = apart
    b.pump.steer(a.key, ("192.0.2.1", a.port), 0)
    ping = subprocess.Popen(within(a.space, "ping", "-c", "1", "-W", "8", b.ip), stdout=subprocess.DEVNULL)
    assert a.wait_for_kind("sent") == ("sent", b.key)
    a.pump.steer(b.key, ("192.0.2.2", b.port), 0)
    assert ping.wait(PATIENCE) == 0, "the first packet was lost"


def test_an_answer_to_a_handshake_goes_back_where_it_came_from(apart: tuple[Node, Node]) -> None:
    a, b = apart
    b.pump.steer(a.key, None, 0)
    a.pump.steer(b.key, ("192.0.2.2", b.port), 0)
    a.ping(b.ip, count=1, wait=0.1)
    assert a.wait_for_kind("handshake") == ("handshake", b.key)


@pytest.mark.parametrize("said", ["never by udp", "nothing yet"])
def test_a_handshake_is_not_answered_by_udp_where_that_is_forbidden(apart: tuple[Node, Node], said: str) -> None:
    a, b = apart
    if said == "never by udp":
        b.pump.steer(a.key, None, 0, socket=NEVER_BY_UDP)
    a.pump.steer(b.key, ("192.0.2.2", b.port), 0)
    a.ping(b.ip, count=1, wait=0.1)
    b.wait_for_kind("received")
    until(lambda: b.pump.counters()["steer.none"] > 0)
    assert b.pump.counters()["udp.out"] == 0


def test_the_filter_lets_in_what_a_rule_names_and_answers(pair: tuple[Node, Node]) -> None:
    a, b = pair
    b.pump.set_filter([])
    assert not a.ping(b.ip, wait=0.3)
    assert b.ping(a.ip), "the answer to b's own ping was dropped"
    with inside(b.space):
        listener = socket.create_server((b.ip, 7))
    with listener, inside(a.space), pytest.raises(TimeoutError):
        socket.create_connection((b.ip, 7), timeout=0.3)
    assert b.pump.counters()["filter.no_rule"] > 0
    b.pump.set_filter([([f"{a.ip}/32"], [(b.ip, 7, 7)], [6])])
    with inside(b.space):
        listener = socket.create_server((b.ip, 7))
    with listener, inside(a.space), socket.create_connection((b.ip, 7), timeout=PATIENCE):
        pass


def test_udp_is_answered_only_where_it_was_asked(pair: tuple[Node, Node]) -> None:
    a, b = pair
    b.pump.set_filter([])
    with udp(b.space, b.ip) as asker, udp(a.space, a.ip) as answerer, udp(a.space, a.ip) as stranger:
        asker.sendto(b"q", answerer.getsockname())
        assert answerer.recvfrom(9) == (b"q", asker.getsockname())
        stranger.sendto(b"unasked", asker.getsockname())
        answerer.sendto(b"a", asker.getsockname())
        assert asker.recvfrom(9) == (b"a", answerer.getsockname())


def test_an_inner_source_that_is_not_the_sender_s_is_dropped(pair: tuple[Node, Node]) -> None:
    a, b = pair
    assert a.ping(b.ip)
    run("ip", "-n", a.space, "addr", "add", "100.64.0.66/32", "dev", "gnl0")
    with udp(a.space, "100.64.0.66") as spoof:
        spoof.sendto(b"spoof", (b.ip, 9))
    until(lambda: b.pump.counters()["filter.source"] == 1)


def test_a_removed_peer_stops_at_once(pair: tuple[Node, Node]) -> None:
    a, b = pair
    assert a.ping(b.ip)
    b.pump.remove_peer(a.key)
    received = b.pump.counters()["tun.out"]
    assert not a.ping(b.ip, wait=0.3)
    assert not b.ping(a.ip, wait=0.3)
    assert b.pump.counters()["tun.out"] == received
    assert b.pump.peers() == []


def test_a_restarted_peer_is_reached_after_a_reset(pair: tuple[Node, Node]) -> None:
    a, b = pair
    assert a.ping(b.ip)
    b.pump.reset_peer(a.key)
    a.pump.reset_peer(b.key)
    assert a.ping(b.ip)
    assert b.ping(a.ip)


def test_a_rebind_keeps_the_tunnel(pair: tuple[Node, Node]) -> None:
    a, b = pair
    assert a.ping(b.ip)
    with inside(a.space):
        port, _ = a.pump.bind(0)
    assert port != a.port
    b.pump.steer(a.key, ("192.0.2.1", port), 0)
    handshakes = a.pump.peers()[0].last_handshake
    assert a.ping(b.ip)
    assert b.ping(a.ip)
    assert a.pump.peers()[0].last_handshake == handshakes


def test_a_taken_port_is_an_error_and_the_old_socket_stays(pair: tuple[Node, Node]) -> None:
    a, b = pair
    with udp(a.space, "0.0.0.0") as holder, inside(a.space), pytest.raises(OSError, match="in use"):
        a.pump.bind(holder.getsockname()[1])
    assert a.ping(b.ip)


def test_garbage_is_counted_and_disturbs_nobody(pair: tuple[Node, Node]) -> None:
    a, b = pair
    assert a.ping(b.ip)
    with udp(b.space, "192.0.2.2") as probe:
        for size in (0, 1, 31, 32, 64, 92, 148, 1500, 20000):
            for first in range(6):
                probe.sendto((struct.pack("<I", first) + os.urandom(size))[:size], ("192.0.2.1", a.port))
    assert a.ping(b.ip)
    counters = a.pump.counters()
    assert counters["thread.panic"] == 0
    assert counters["udp.short"] > 0
    assert counters["handshake.mac"] > 0


def test_a_udp_super_packet_arrives_as_the_datagrams_it_stands_for(pair: tuple[Node, Node]) -> None:
    a, b = pair
    with udp(a.space, a.ip) as sender, udp(b.space, b.ip) as receiver:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        sender.sendto(b"".join(bytes([n]) * 1000 for n in range(10)) + b"tail", receiver.getsockname())
        got = [receiver.recv(2000) for _ in range(11)]
    assert got == [bytes([n]) * 1000 for n in range(10)] + [b"tail"]


def test_the_second_socket_may_have_another_port(wired: tuple[str, str]) -> None:
    with udp(wired[0], "::") as holder:
        pump = Pump(bytes(PrivateKey.generate()))
        with inside(wired[0]):
            v4, v6 = pump.bind(holder.getsockname()[1])
        pump.close()
        assert v4 == holder.getsockname()[1]
        assert v6 not in {0, v4}


def test_the_host_cannot_send_what_tunnel_ends_tell_each_other(pair: tuple[Node, Node]) -> None:
    a, b = pair
    with inside(a.space):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 99)
    with raw:
        raw.sendto(b"p12345678", (b.ip, 0))
        until(lambda: a.pump.counters()["tsmp.swallowed"] == 1)
    assert b.pump.counters()["tsmp.swallowed"] == 0


def test_closing_removes_the_device_and_may_be_repeated(wired: tuple[str, str]) -> None:
    with node(wired[0], 1) as one:
        run("ip", "-n", one.space, "link", "show", "gnl0")
        one.pump.close()
        one.pump.close()
        with pytest.raises(subprocess.CalledProcessError):
            run("ip", "-n", one.space, "link", "show", "gnl0")
        with pytest.raises(OSError, match="shutdown"):
            one.pump.bind(0)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda pump: pump.set_peer(bytes(31), []), "32 bytes"),
        (lambda pump: pump.set_peer(bytes(32), []), "low order"),
        (lambda pump: pump.set_peer(b"\x09" * 32, ["100.64.0.1/33"]), "prefix"),
        (lambda pump: pump.set_filter([(["x"], [], [6])]), "prefix"),
        (lambda pump: pump.set_filter([(["*"], [("*", 9, 8)], [6])]), "ports"),
        (lambda pump: pump.send_udp(("example.org", 1), b""), "no IP address"),
        (lambda pump: pump.relay_open(1, "x", [], "trust me"), "verify"),
    ],
)
def test_bad_arguments_are_value_errors(call: Callable[[Pump], None], why: str) -> None:
    pump = Pump(bytes(PrivateKey.generate()))
    with pytest.raises(ValueError, match=why):
        call(pump)
    pump.close()


# Another implementation of WireGuard at the other end.


DEVICE = f"gpwg{RUN}"


@contextmanager
def wireguard_go(space: str, device: str, config: str) -> Iterator[None]:
    """Debian's wireguard-go, set up with `wg`, in a namespace; its peers run when the block begins.

    It hears by netlink that its link is up, some time after `ip` has returned, and drops what it is given to send until
    then. So it comes up without peers; once it has a port it is up, and peers configured after that run at once.
    """
    process = subprocess.Popen(within(space, "wireguard-go", "-f", device), stderr=subprocess.DEVNULL)
    try:
        until(lambda: listen_port(space, device) is not None)
        run("ip", "-n", space, "link", "set", device, "mtu", "1280", "up")
        until(lambda: bool(listen_port(space, device)))
        run(*within(space, "wg", "setconf", device, "/dev/stdin"), input=config)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def listen_port(space: str, device: str) -> int | None:
    """0 until it is up; None until it can be asked."""
    asked = subprocess.run(within(space, "wg", "show", device, "listen-port"), capture_output=True, check=False)
    return int(asked.stdout) if asked.returncode == 0 else None


@pytest.mark.parametrize("who_begins", ["ours", "theirs"])
def test_wireguard_go_is_a_peer_like_any_other(wired: tuple[str, str], who_begins: str) -> None:
    theirs = PrivateKey.generate()
    with node(wired[0], 1) as ours:
        config = (
            f"[Interface]\nPrivateKey={b64encode(bytes(theirs)).decode()}\nListenPort=51820\n"
            f"[Peer]\nPublicKey={b64encode(ours.key).decode()}\nAllowedIPs=100.64.0.1/32\n"
            f"Endpoint=192.0.2.1:{ours.port}\n"
        )
        ours.pump.set_peer(bytes(theirs.public_key), ["100.64.0.2/32"])
        ours.pump.steer(bytes(theirs.public_key), ("192.0.2.2", 51820), 0)
        with wireguard_go(wired[1], DEVICE, config):
            run("ip", "-n", wired[1], "addr", "add", "100.64.0.2/24", "dev", DEVICE)
            other = Node(wired[1], ours.pump, b"", b"", "100.64.0.2", "", 51820)
            begin, end = (ours, other) if who_begins == "ours" else (other, ours)
            assert begin.ping(end.ip)
            assert end.ping(begin.ip)
            data = os.urandom(1_000_000)
            assert carry(ours, other, other.ip, data) == data
            assert carry(other, ours, ours.ip, data) == data
            assert "handshake" in run(*within(wired[1], "wg", "show", DEVICE))


# Nothing but a relay between the two.


@dataclass(frozen=True)
class Door:
    """A relay and how to reach it from either side."""

    relay: Relay
    key: bytes
    pin: str
    name: str = "relay.example.org"

    def open_from(self, node: Node, address: str, verify: str | None = None, region: int = 1) -> None:
        node.pump.relay_open(region, self.name, [(address, 443)], verify or self.pin)


@contextmanager
def door(space: str, *, members_only: bool = False) -> Iterator[Door]:
    secret, now = PrivateKey.generate(), WallTime(time.time())
    key = bytes(secret.public_key)
    leaf = SelfSigned.make(Door.name, os.urandom(ENTROPY_SIZE), now)
    chain = leaf.certificate + meta_certificate(NodeKey(key), os.urandom(32), now)
    with inside(space):
        relay = Relay(
            bytes(secret),
            certificate=chain,
            certificate_key=leaf.key,
            tls=["0.0.0.0:443"],
            http=[],
            stun=[],
            splice=None,
            members_only=members_only,
        )
    try:
        yield Door(relay, key, read_leaf(leaf.certificate).pin)
    finally:
        relay.close()


A_DIALS, B_DIALS = "192.0.2.9", "198.51.100.9"


@pytest.fixture(scope="module")
def relayed() -> Iterator[tuple[str, str, Door]]:
    with two_hosts_and_a_relay(f"gp-r{RUN}") as (a, b, r), door(r) as between:
        yield a, b, between


@pytest.fixture
def far(relayed: tuple[str, str, Door]) -> Iterator[tuple[Node, Node, Door]]:
    a_space, b_space, between = relayed
    with two_nodes(a_space, b_space) as (a, b):
        for node, address in ((a, A_DIALS), (b, B_DIALS)):
            with inside(node.space):
                between.open_from(node, address)
            node.wait_for_kind("relay-up")
        a.pump.steer(b.key, None, 1)
        b.pump.steer(a.key, None, 1)
        yield a, b, between


def test_ping_and_a_stream_pass_by_a_relay(far: tuple[Node, Node, Door]) -> None:
    a, b, between = far
    assert a.ping(b.ip)
    data = os.urandom(3_000_000)
    assert carry(a, b, b.ip, data) == data
    assert ("received", b.key, 1) in a.pump.drain(200)
    assert between.relay.counters()["derp.fast_start"] >= 2


def test_disco_passes_by_a_relay_with_its_sender(far: tuple[Node, Node, Door]) -> None:
    a, b, _ = far
    a.pump.relay_send(1, b.key, DISCO)
    assert b.wait_for_kind("relayed-disco") == ("relayed-disco", 1, a.key, DISCO)


def test_disco_for_nobody_comes_back_as_gone(far: tuple[Node, Node, Door]) -> None:
    a, _, _ = far
    nobody = bytes(PrivateKey.generate().public_key)
    a.pump.relay_send(1, nobody, DISCO)
    kind, region, key, _reason = a.wait_for_kind("relay-gone")
    assert (kind, region, key) == ("relay-gone", 1, nobody)


def test_a_region_that_is_not_connected_is_asked_for_and_its_packet_kept(far: tuple[Node, Node, Door]) -> None:
    a, b, between = far
    a.pump.relay_close(1)
    ping = subprocess.Popen(within(a.space, "ping", "-c", "1", "-W", "8", b.ip), stdout=subprocess.DEVNULL)
    assert a.wait_for_kind("relay-wanted") == ("relay-wanted", 1)
    with inside(a.space):
        between.open_from(a, A_DIALS)
    assert ping.wait(PATIENCE) == 0, "the first packet was lost"


def test_the_first_address_may_be_dead(far: tuple[Node, Node, Door]) -> None:
    a, _, between = far
    with inside(a.space):
        a.pump.relay_open(2, between.name, [(A_DIALS, 444), (A_DIALS, 443)], between.pin)
    assert a.wait_for_kind("relay-up") == ("relay-up", 2, between.key, (A_DIALS, 443))


def test_the_same_arguments_keep_the_connection(far: tuple[Node, Node, Door]) -> None:
    a, b, between = far
    logins = between.relay.counters()["derp.login"]
    with inside(a.space):
        between.open_from(a, A_DIALS)
    assert a.ping(b.ip)
    assert between.relay.counters()["derp.login"] == logins


@pytest.mark.parametrize(
    ("verify", "why"),
    [
        ("sha256-raw:" + "00" * 32, "pinned"),
        ("name:relay.example.org", "certificate"),
        ("name:other.example.org", "certificate"),
    ],
)
def test_a_certificate_that_is_not_the_right_one_ends_the_dial(
    far: tuple[Node, Node, Door], verify: str, why: str
) -> None:
    a, _, between = far
    with inside(a.space):
        between.open_from(a, A_DIALS, verify, region=3)
    kind, region, reason, _ = a.wait_for_kind("relay-down")
    assert (kind, region) == ("relay-down", 3)
    assert why in reason


def test_a_pinned_certificate_must_bear_the_host_name(far: tuple[Node, Node, Door]) -> None:
    a, _, between = far
    with inside(a.space):
        a.pump.relay_open(3, "other.example.org", [(A_DIALS, 443)], between.pin)
        a.pump.relay_open(4, A_DIALS, [(A_DIALS, 443)], between.pin)
    assert {a.wait_for(lambda aside: aside[0] in {"relay-up", "relay-down"})[:2] for _ in range(2)} == {
        ("relay-down", 3),
        ("relay-up", 4),
    }


def test_an_unverified_relay_is_used_when_asked_for(far: tuple[Node, Node, Door]) -> None:
    a, _, between = far
    with inside(a.space):
        between.open_from(a, A_DIALS, "insecure", region=5)
    assert a.wait_for_kind("relay-up")[1] == 5


def test_a_relay_that_ends_the_connection_is_told(relayed: tuple[str, str, Door]) -> None:
    third = f"gp-r{RUN}-third"
    with hosts(third), node(relayed[0], 1) as a:
        wire((relayed[0], "eth9", ("203.0.113.1/24",)), (third, "eth0", ("203.0.113.9/24",)))
        with door(third, members_only=True) as club:
            club.relay.add_member(a.key)
            with inside(a.space):
                club.open_from(a, "203.0.113.9", region=7)
            a.wait_for_kind("relay-up")
            club.relay.remove_member(a.key)
            assert a.wait_for_kind("relay-down")[1] == 7


def test_a_relay_whose_machine_is_gone_is_given_up_in_time(relayed: tuple[str, str, Door]) -> None:
    """Nothing tells of it: its packets are dropped in both directions."""
    third = f"gp-r{RUN}-hole"
    with hosts(third), node(relayed[0], 1) as a:
        wire((relayed[0], "eth8", ("203.0.113.1/24",)), (third, "eth0", ("203.0.113.9/24",)))
        with door(third) as gone:
            with inside(a.space):
                gone.open_from(a, "203.0.113.9", region=8)
            a.wait_for_kind("relay-up")
            run(
                *within(
                    third, "nft", "table inet hole { chain in { type filter hook input priority 0; policy drop; }; }"
                )
            )
            begun = time.monotonic()
            a.pump.relay_send(8, bytes(32), DISCO)
            assert a.wait_for_kind("relay-down")[3] is True
            assert time.monotonic() - begun < 5.5


def join(a: Node, b: Node) -> tuple[str, str]:
    """Their hosts reach each other by UDP as well, through the relay's; at these addresses."""
    run("ip", "-n", f"gp-r{RUN}-r", "link", "set", "lo", "up")
    run(*within(f"gp-r{RUN}-r", "sysctl", "-qw", "net.ipv4.ip_forward=1"))
    run("ip", "-n", a.space, "route", "replace", "198.51.100.0/24", "via", "192.0.2.9")
    run("ip", "-n", b.space, "route", "replace", "192.0.2.0/24", "via", "198.51.100.9")
    return "192.0.2.1", "198.51.100.1"


def test_both_ways_at_once_deliver_each_packet_once(far: tuple[Node, Node, Door]) -> None:
    a, b, _ = far
    link = join(a, b)
    a.pump.steer(b.key, (link[1], b.port), 1)
    b.pump.steer(a.key, (link[0], a.port), 1)
    with udp(a.space, a.ip) as sender, udp(b.space, b.ip) as receiver:
        for number in range(50):
            sender.sendto(bytes([number]), receiver.getsockname())
        got = [receiver.recv(9) for _ in range(50)]
    assert sorted(got) == [bytes([number]) for number in range(50)]
    until(lambda: b.pump.counters()["wireguard.replay"] >= 40)


def test_a_copy_by_udp_of_what_a_relay_has_just_brought_is_told_if_nobody_touched_it(
    far: tuple[Node, Node, Door],
) -> None:
    a, b, _ = far
    here = join(a, b)[1]
    with udp(b.space, here) as postman:
        postman.settimeout(PATIENCE)
        assert a.ping(b.ip, count=1)
        a.pump.steer(b.key, postman.getsockname(), 1)
        assert a.ping(b.ip, count=2)  # by the relay: the postman has not been on his way yet
        letter = [postman.recv(2048) for _ in range(2)][1]
        b.pump.drain(100)
        before = b.pump.counters()
        postman.sendto(letter[:-1] + bytes([letter[-1] ^ 1]), (here, b.port))
        until(lambda: b.pump.counters()["wireguard.replay"] > before["wireguard.replay"])
        assert b.pump.drain(100) == []
        postman.sendto(letter, (here, b.port))
        assert b.wait_for_kind("received") == ("received", a.key, postman.getsockname())
        assert b.pump.counters()["tun.out"] == before["tun.out"]


@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_a_question_inside_the_tunnel_is_answered_and_goes_by_no_relay(
    far: tuple[Node, Node, Door], family: str
) -> None:
    a, b, _ = far
    addresses = join(a, b)
    assert a.ping(b.ip, count=1)
    sent = a.pump.counters()["relay.out"]
    question = getattr(a, family), getattr(b, family)
    a.pump.ask_inside(b.key, *question)  # without a direct way: nobody
    a.pump.steer(b.key, (addresses[1], b.port), 1)
    b.pump.steer(a.key, (addresses[0], a.port), 0)
    a.pump.ask_inside(b.key, *question)
    a.wait_for(lambda aside: aside == ("received", b.key, (addresses[1], b.port)))
    assert a.pump.counters()["relay.out"] == sent
    assert a.pump.counters()["tsmp.swallowed"] == b.pump.counters()["tsmp.swallowed"] == 1
