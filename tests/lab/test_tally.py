import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.lab.instance import Lab
from ginnel.lab.kinds import SERVER, network
from ginnel.lab.processes import until
from ginnel.lab.tally import DISCO, ETH_P_IP, ETH_P_IPV6, STUN_COOKIE, Packet, Tally, packet_of

NEAR, FAR = bytes([192, 0, 2, 1]), bytes([198, 51, 100, 2])


def ipv4(protocol: int, body: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0)
    return head + NEAR + FAR + body


def udp(payload: bytes) -> bytes:
    return struct.pack("!HHHH", 41641, 3478, 8 + len(payload), 0) + payload


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (DISCO + bytes(40), "disco"),
        (b"\0\1\0\0" + STUN_COOKIE + bytes(12), "stun"),
        (b"\1\0\0\0" + bytes(144), "initiation"),
        (b"\2\0\0\0" + bytes(88), "response"),
        (b"\4\0\0\0" + bytes(28), "data"),
        (b"\5\0\0\0", "udp"),
        (b"hello", "udp"),
        (b"", "udp"),
    ],
)
def test_datagrams_are_told_apart(payload: bytes, kind: str) -> None:
    packet = ipv4(socket.IPPROTO_UDP, udp(payload))
    expected = Packet(1.5, True, kind, "198.51.100.2", 3478, len(packet), "by 41641")
    assert packet_of(packet, ETH_P_IP, out=True, at=1.5) == expected


def test_the_remote_end_is_the_one_that_is_not_here() -> None:
    packet = ipv4(socket.IPPROTO_UDP, udp(b"hello"))
    heard = packet_of(packet, ETH_P_IP, out=False, at=1.5)
    assert (heard.remote, heard.port, heard.detail) == ("192.0.2.1", 41641, "by 3478")


def test_tcp_shows_its_flags_and_its_bytes() -> None:
    segment = struct.pack("!HHIIBBHHH", 443, 50000, 0, 0, 5 << 4, 0x18, 0, 0, 0) + b"12345"
    packet = packet_of(ipv4(socket.IPPROTO_TCP, segment), ETH_P_IP, out=False, at=0.0)
    assert (packet.kind, packet.port, packet.detail) == ("tcp", 443, "PA 5")


def test_ipv6_is_read_too() -> None:
    near, far = bytes([32, 1, 13, 184, *range(12)]), bytes([32, 1, 13, 184, *range(12, 24)])
    body = udp(b"hello")
    packet = struct.pack("!IHBB", 6 << 28, len(body), socket.IPPROTO_UDP, 64) + near + far + body
    found = packet_of(packet, ETH_P_IPV6, out=True, at=0.0)
    assert (found.kind, found.remote, found.size) == ("udp", "2001:db8:c0d:e0f:1011:1213:1415:1617", len(packet))


@given(st.binary(max_size=120), st.sampled_from([ETH_P_IP, ETH_P_IPV6, 0x0806, 0]), st.booleans())
def test_any_bytes_are_some_packet(head: bytes, ethertype: int, out: bool) -> None:
    assert packet_of(head, ethertype, out, 0.0).out == out


@pytest.mark.root
def test_what_passes_an_interface_is_there_both_ways(leaves_nothing: None) -> None:
    with Lab(network(a="none")) as lab, Tally(lab.spaces["a"]) as tally:
        server = lab.addresses[SERVER]
        with (
            lab.spaces["a"].socket(socket.SOCK_DGRAM, ("0.0.0.0", 0)) as here,
            lab.spaces[SERVER].socket(socket.SOCK_DGRAM, (server, 4000)) as there,
        ):
            here.sendto(b"hello", there.getsockname())
            there.sendto(b"hello yourself", there.recvfrom(64)[1])
            here.recv(64)
        until(lambda: sum(p.remote == server for p in tally.packets) == 2 or None, 10, "both packets")
        found = [(p.out, p.kind, p.port, p.size) for p in tally.packets if p.remote == server]
        assert found == [(True, "udp", 4000, 33), (False, "udp", 4000, 42)]
