"""Port 53, and what to do where somebody has it."""

import errno
import socket

import pytest

from ginnel.shell.relaydns import listen
from ginnel.shell.relaydns.keyfile import RelayDnsError
from ginnel.shell.relaydns.listen import open_sockets


def refusal(error, monkeypatch, host="0.0.0.0", stub=False):
    def refuse(*_):
        raise OSError(error, "as told")

    monkeypatch.setattr(listen, "_both", refuse)
    monkeypatch.setattr(listen, "_stub_listens", lambda: stub)
    with pytest.raises(RelayDnsError) as told:
        open_sockets(host, 53)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_udp_and_tcp_have_the_same_port():
    udp, tcp = open_sockets("127.0.0.1", 0)
    with udp, tcp:
        assert udp.getsockname() == tcp.getsockname()
        assert (udp.type, tcp.type) == (socket.SOCK_DGRAM, socket.SOCK_STREAM)


def test_systemd_resolved_is_named_with_two_ways_out(monkeypatch):
    told = refusal(errno.EADDRINUSE, monkeypatch, "::", stub=True)
    assert "[::]:53: systemd-resolved" in told
    assert "relay_dns.listen" in told
    assert "DNSStubListener=no" in told


def test_its_stub_is_found_in_the_kernels_table(tmp_path):
    table = tmp_path / "udp"
    table.write_text("  sl  local_address\n  1: 3500007F:0035 00000000:0000 07\n")
    assert listen._stub_listens(table)
    table.write_text("  sl  local_address\n  1: 0100007F:0035 00000000:0000 07\n")
    assert not listen._stub_listens(table)
    assert not listen._stub_listens(tmp_path / "absent")


def test_other_reasons_say_what_to_do(monkeypatch):
    assert "CAP_NET_BIND_SERVICE" in refusal(errno.EACCES, monkeypatch)
    assert "another program" in refusal(errno.EADDRINUSE, monkeypatch)
    assert "address of this machine" in refusal(errno.EADDRNOTAVAIL, monkeypatch)


def test_an_address_that_is_not_here_leaves_no_socket():
    with pytest.raises(RelayDnsError):
        open_sockets("192.0.2.1", 0)
