"""`[relay_dns]`: one line turns it on, and what is wrong is told in one line."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from ginnel.shell.control.config import ConfigError, read_config
from ginnel.shell.relaydns.config import RelayDnsConfig, UpdateConfig, checked
from ginnel.shell.relaydns.keyfile import RelayDnsError
from ginnel.wire.dns import name_of
from ginnel.words import Endpoint

ZONE = "relays.example.com"


def of(host="vpn.example.com", addresses=(), **settings):
    return checked(RelayDnsConfig(**{"zone": ZONE, **settings}), host, addresses)


def test_one_line_is_enough(tmp_path: Path):
    path = tmp_path / "server.toml"
    path.write_text('url = "https://vpn.example.com"\n[relay_dns]\nzone = "relays.example.com"\n')
    config = read_config(path, {})
    made = checked(config.relay_dns, "vpn.example.com", ())
    assert made.listen == (("::", 53),)
    assert [server.name for server in made.zone.name_servers] == ["vpn.example.com"]
    assert not made.transfers.keys
    assert made.update is None
    assert made.zone.ttl <= 300


def test_it_is_off_without_its_table():
    assert read_config(None, {"url": "https://192.0.2.1"}).relay_dns.zone == ""


def test_unknown_settings_are_refused_with_their_line(tmp_path: Path):
    path = tmp_path / "server.toml"
    path.write_text('[relay_dns]\nzone = "relays.example.com"\nzonne = 1\n')
    with pytest.raises(ConfigError, match="line 3"):
        read_config(path, {"url": "https://192.0.2.1"})


@pytest.mark.parametrize(
    ("host", "addresses", "name", "glue"),
    [
        ("vpn.example.com", (), "vpn.example.com", ()),
        ("198.51.100.7", (), "ns.relays.example.com", ("198.51.100.7",)),
        ("2001:db8::7", (), "ns.relays.example.com", ("2001:db8::7",)),
        (
            "vpn.relays.example.com",
            ("198.51.100.7", "2001:db8::7"),
            "ns.relays.example.com",
            ("198.51.100.7", "2001:db8::7"),
        ),
    ],
)
def test_without_ns_the_server_itself_is_the_name_server(host, addresses, name, glue):
    [server] = of(host, addresses).zone.name_servers
    assert (server.name, server.addresses) == (name, tuple(map(ip_address, glue)))


def test_name_servers_are_taken_in_their_order():
    made = of(ns={"ns1.relays.example.com": ("192.0.2.1", "2001:db8::1"), "ns2.example.net": ()})
    assert [server.name for server in made.zone.name_servers] == ["ns1.relays.example.com", "ns2.example.net"]


def test_addresses_may_leave_out_the_port(tmp_path: Path):
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text("hmac-sha256:k:" + "A" * 44)
    made = of(
        notify=("192.0.2.1", "2001:db8::1", "[2001:db8::2]:5353"),
        update=UpdateConfig("192.0.2.9", str(key), "example.com"),
    )
    assert made.notify == tuple(map(Endpoint.parse, ("192.0.2.1:53", "[2001:db8::1]:53", "[2001:db8::2]:5353")))
    assert made.update is not None
    assert (made.update.server, made.update.zone) == (Endpoint.parse("192.0.2.9:53"), name_of("example.com"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"zone": "bad zone"}, {"zone": "ü.example"}, {"ttl": 301}, {"ttl": 4},
        {"rebuild": 901.0}, {"rebuild": 0.0}, {"zone": "."}, {"zone": ".".join(["x" * 49] * 4)}, {"hostmaster": "a@b"},
        {"rate_limit": -1.0},
        {"ns": {"ns1.relays.example.com": ()}}, {"ns": {"ns1.example.net": ("x",)}}, {"ns": {"a b": ()}},
        {"listen": ("53",)}, {"listen": ("192.0.2.1:99999",)}, {"listen": ("name:53",)}, {"notify": ("secondary",)},
        {"allow_transfer": ("192.0.2.1",)}, {"transfer_key_file": "/nowhere"},
        {"allow_transfer": ("x",), "transfer_key_file": "/nowhere"},
        {"allow_transfer": ("192.0.2.1",), "transfer_key_file": "/nowhere"},
        {"update": UpdateConfig("192.0.2.1", "")}, {"update": UpdateConfig("", "/nowhere")},
        {"update": UpdateConfig("192.0.2.1", "/nowhere")},
        {"update": UpdateConfig("192.0.2.1", "/nowhere", "example.net")},
        {"host": "vpn.relays.example.com"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(wrong):
    with pytest.raises(RelayDnsError) as told:
        of(**wrong)
    assert "\n" not in str(told.value)
