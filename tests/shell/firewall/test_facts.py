"""Facts from the daemon (its real answers, see test_a_running_daemon...), from a server, from a file."""

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ginnel.core.firewall.hosts import saas_hosts
from ginnel.core.firewall.plan import Facts
from ginnel.shell.control.config import read_config
from ginnel.shell.control.run import ControlServer
from ginnel.shell.firewall import facts as facts_module
from ginnel.shell.firewall.facts import Daemon, FactsError, Wish, gather, own_addresses, own_port
from ginnel.shell.node.backend import NodeBackend
from ginnel.wire.tailcfg import DERPMap, MapResponse, encode
from ginnel.words import WallTime
from tests.core.firewall.maps import derp_map, mesh, node, region
from tests.shell.node.test_node import World, settled, world
from tests.shell.test_relay_map import serving

__all__ = ["world"]
NOW = WallTime(1_767_268_800.0)
PREFS = {"ControlURL": "https://vpn.example.com"}
INSIDE = {"Port": 41641, "Ports": [41641, 41641]}


@pytest.fixture(autouse=True)
def no_own_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documentation's addresses may be those of the machine that tests run on."""
    monkeypatch.setattr(facts_module, "own_addresses", frozenset)


def daemon(relays: DERPMap | None = None, *, caps: dict[str, Any] | None = None, **answers: Any) -> Daemon:
    every = {
        "derpmap": json.loads(encode(relays if relays is not None else mesh(2, "a"))), "prefs": PREFS,
        "status?peers=false": {"Self": {"CapMap": caps or {}}}, "debug-inside": INSIDE,
    }  # fmt: skip
    return (every | answers).__getitem__


def nobody(name: str) -> Any:
    raise AssertionError(f"the daemon was asked for {name}")


async def by_daemon(*words: Any, wish: Wish | None = None, **options: Any) -> Facts:
    return await gather(wish or Wish(), daemon(*words, **options), NOW)


def names(facts: Facts) -> list[str]:
    return [host.name for host in facts.hosts]


async def test_the_daemon_knows_the_server_the_relays_and_its_port() -> None:
    facts = await by_daemon()
    assert names(facts) == [
        "vpn.example.com", "derp1-all.relays.example.com", "derp1a.relays.example.com",
        "derp2-all.relays.example.com", "derp2a.relays.example.com",
    ]  # fmt: skip
    assert (facts.source, facts.port, facts.randomize, facts.made) == ("the daemon", 41641, False, NOW)


async def test_what_the_server_told_its_members_counts() -> None:
    relays = derp_map(region(7, node(7, host_name="r.example.net")))
    caps = {
        "ginnel/relay-zone": ["own.example.org"], "ginnel/log-hosts": ["log.example.com"],
        "randomize-client-port": None,
    }  # fmt: skip
    facts = await by_daemon(relays, caps=caps)
    assert names(facts) == ["vpn.example.com", "log.example.com", "derp7-all.own.example.org", "r.example.net"]
    assert facts.randomize
    assert facts.fixed_port is None


@pytest.mark.parametrize(
    ("inside", "port", "said"),
    [
        (INSIDE, 41641, ""),
        ({"Port": 0, "Ports": [50123, 50123]}, None, ""),
        ({"Port": 41641, "Ports": [50123, 50123]}, 50123, "UDP port 41641 is taken by another program"),
        ({"Port": 41641, "Ports": [41641, 50123]}, None, "uses 41641 and 50123"),
        ({"Port": 41641, "Ports": [41641, 0]}, 41641, ""),
        ({}, 41641, ""),
        ({"Port": "x", "Ports": "y"}, 41641, ""),
        ({"Port": 5000}, 5000, ""),
    ],
)
def test_the_port_in_use_is_followed(inside: dict[str, Any], port: int | None, said: str) -> None:
    found, problems = own_port(inside)
    assert found == port
    assert said in "".join(problems)
    assert bool(said) == bool(problems)


async def test_a_port_on_the_command_line_is_above_the_daemons() -> None:
    assert (await by_daemon(wish=Wish(port=5000))).port == 5000
    assert (await by_daemon(wish=Wish(port=0))).port is None


@pytest.mark.parametrize("answer", [None, [], {}, {"Regions": None}, {"Regions": {"1": None}}])
async def test_a_daemon_without_a_map_is_an_error_never_an_empty_plan(answer: Any) -> None:
    with pytest.raises(FactsError, match="the daemon has no DERP map yet"):
        await by_daemon(derpmap=answer)


async def test_a_map_without_one_relay_that_can_be_trusted_is_an_error_that_says_why() -> None:
    with pytest.raises(FactsError, match=r"names no relay that can be used: .*10\.0\.0\.1 is not a public address"):
        await by_daemon(derp_map(region(1, node(1, ipv4="10.0.0.1"))))


async def test_the_servers_own_private_relay_counts_with_its_url() -> None:
    relays = derp_map(region(1, node(1, host_name="192.168.1.5", ipv4="192.168.1.5")))
    facts = await by_daemon(relays, prefs={"ControlURL": "http://192.168.1.5:8080"})
    assert [str(host.addresses[0]) for host in facts.hosts] == ["192.168.1.5", "192.168.1.5"]


async def test_private_relays_count_where_the_user_allows_them() -> None:
    relays = derp_map(region(1, node(1, ipv4="10.0.0.1")))
    facts = await by_daemon(relays, wish=Wish(allowed=(ip_network("10.0.0.0/8"),)))
    assert len(facts.hosts) == 3


async def test_an_address_of_this_machine_is_no_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_module, "own_addresses", lambda: frozenset({ip_address("192.0.2.1")}))
    facts = await by_daemon(mesh(2, "a"))
    assert "derp1a.relays.example.com" not in names(facts)
    assert "own address" in facts.problems[0]


def test_the_kernel_names_this_machines_addresses() -> None:
    assert ip_address("127.0.0.1") in own_addresses()


async def test_a_map_from_a_file_needs_no_daemon_and_says_what_it_does_not_name(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    file.write_bytes(encode(mesh(1, "a")))
    facts = await gather(Wish(derp_map=str(file)), nobody, NOW)
    assert names(facts) == ["derp1-all.relays.example.com", "derp1a.relays.example.com"]
    assert facts.problems[0].startswith("A DERP map does not name the coordination server")
    both = await gather(Wish(server="https://vpn.example.com", derp_map=str(file)), nobody, NOW)
    assert names(both)[0] == "vpn.example.com"
    assert both.source == f"{file} and https://vpn.example.com"
    assert both.problems == ()


async def test_the_vendors_profile_has_its_names_and_the_given_relays(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    file.write_bytes(encode(derp_map(region(1, node(1, zone="tailscale.com")))))
    facts = await gather(Wish(mesh="tailscale-saas", derp_map=str(file)), nobody, NOW)
    assert facts.hosts[:4] == saas_hosts()
    assert names(facts)[4:] == ["derp1-all.tailscale.com", "derp1a.tailscale.com"]


async def test_the_vendors_profile_alone_asks_the_vendors_host(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def read_map(place: Any) -> Any:
        asked.append(place.name)
        raise facts_module.MapError("no")

    monkeypatch.setattr(facts_module, "read_map", read_map)
    for wish in (Wish(mesh="tailscale-saas"), Wish(server="https://vpn.example.com"), Wish(derp_map="f")):
        with pytest.raises(FactsError):
            await gather(wish, nobody, NOW)
    await by_daemon()
    assert asked == [
        "https://login.tailscale.com/derpmap/default", "https://vpn.example.com/derpmap/default", "f",
    ]  # fmt: skip


async def test_headers_of_a_server_are_not_believed_blindly() -> None:
    headers = "Ginnel-Relay-Zone: $(reboot)\r\nGinnel-Log-Hosts: log.example.com, -x\r\n"
    async with serving("200 OK", encode(mesh(1, "a")), headers) as url:
        facts = await gather(Wish(server=url.removesuffix("/derpmap/default")), nobody, NOW)
    assert names(facts)[1] == "log.example.com"
    assert len(facts.problems) == 2


async def test_a_server_tells_strangers_its_relays_their_zone_and_the_log_hosts(tmp_path: Path) -> None:
    regions = {"910": {"code": "far", "name": "Far", "nodes": [{"host": "r.example.net", "ipv4": "192.0.2.1"}]}}
    config = read_config(
        None,
        {
            "state": str(tmp_path), "url": "https://vpn.example.com", "listen_plain": ("127.0.0.1:0",),
            "regions": regions, "relay_dns": {"zone": "relays.example.com", "listen": ()},
            "log_host": {"names": ["log.example.com"]},
        },
    )  # fmt: skip
    async with ControlServer(config) as server:
        facts = await gather(Wish(server=f"http://127.0.0.1:{server.plain_ports()[0]}"), nobody, NOW)
    assert names(facts) == ["", "log.example.com", "derp910-all.relays.example.com", "r.example.net"]
    assert (facts.port, facts.problems) == (41641, ())


async def test_a_running_daemon_answers_what_facts_are_made_of(world: World) -> None:
    world.node._port = 41641
    async with world.running() as running:
        backend = NodeBackend(running)
        world.up()
        await settled()
        own = running.netmap.self_node
        assert own is not None
        told = {"ginnel/relay-zone": ["relays.example.com"], "randomize-client-port": None}
        world.server.tell(MapResponse(node=msgspec.structs.replace(own, cap_map=told)))
        answers = {
            "prefs": backend.prefs, "derpmap": backend.derp_map, "debug-inside": backend.inside,
            "status?peers=false": lambda: backend.status(peers=False),
        }  # fmt: skip
        facts = await gather(Wish(), lambda name: json.loads(encode(answers[name]())), NOW)  # type: ignore[operator]
    assert names(facts) == ["c.example", "derp1-all.relays.example.com", ""]
    assert (facts.randomize, facts.port) == (True, None)
