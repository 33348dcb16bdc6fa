"""The way out as the kernel knows it, in a namespace of its own."""

import os
import subprocess
from ipaddress import IPv4Address

import pytest

from ginnel.core.node.portmap.actions import Gateway
from ginnel.shell.node.gateway import read_gateway
from tests.shell.node.test_router import namespace

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
__all__ = ["namespace"]


def ip(line: str) -> None:
    subprocess.run(["ip", *line.split()], check=True)


@pytest.fixture
def links(namespace: None) -> None:
    for name, address in (("home", "192.168.1.7/24"), ("mobile", "10.0.0.7/24"), ("ginnel0", "192.168.9.7/24")):
        ip(f"link add {name} type veth peer name far-{name}")
        ip(f"link set far-{name} up")
        ip(f"link set {name} up")
        ip(f"addr add {address} dev {name}")


def test_the_default_route_with_the_lowest_metric_names_router_interface_and_our_address(links: None) -> None:
    assert read_gateway("ginnel0") is None
    ip("route add default via 10.0.0.1 dev mobile metric 600")
    assert read_gateway("ginnel0") == Gateway("mobile", IPv4Address("10.0.0.7"), IPv4Address("10.0.0.1"))
    ip("route add default via 192.168.1.1 dev home metric 100")
    ip("addr add 172.16.0.9/16 dev home")
    assert read_gateway("ginnel0") == Gateway("home", IPv4Address("192.168.1.7"), IPv4Address("192.168.1.1"))
    ip("link set home down")
    assert read_gateway("ginnel0") == Gateway("mobile", IPv4Address("10.0.0.7"), IPv4Address("10.0.0.1"))


def test_the_tunnel_is_no_way_out(links: None) -> None:
    ip("route add default via 192.168.9.1 dev ginnel0")
    assert read_gateway("ginnel0") is None


@pytest.mark.parametrize("route", ["via 203.0.113.1 dev home onlink", "dev home", "via inet6 fe80::1 dev home"])
def test_a_router_without_a_private_address_is_asked_for_nothing(links: None, route: str) -> None:
    ip(f"route add default {route}")
    assert read_gateway("ginnel0") is None
