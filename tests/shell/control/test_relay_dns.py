"""The server with `[relay_dns]`: its map's relays by name, and `ginnel relay zone`."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import dns.zone
import msgspec
import pytest
from click.testing import CliRunner

from ginnel.cli.relay import relay
from ginnel.core.control.derp_views import DerpViews, Edits
from ginnel.shell.control import run as run_module
from ginnel.shell.control.beside import StartError
from ginnel.shell.control.config import RegionConfig, RegionNodeConfig, read_config
from ginnel.shell.control.run import ControlServer
from ginnel.shell.relaydns.config import RelayDnsConfig
from ginnel.wire.relaycontrol import RelayOrder
from ginnel.words import NodeKey
from tests.core.relaydns.relay_names import ZONE, derp_map, relays
from tests.shell.relaydns.dig import dig, until

ELSEWHERE = "2001:db8:ffff::1"


def server_at(state: Path, **settings: object) -> ControlServer:
    config = read_config(None, {"state": str(state), "url": "https://127.0.0.1", "listen_plain": ("127.0.0.1:0",)})
    nodes = [RegionNodeConfig(f"r{i}", ipv4=f"192.0.2.{i}", ipv6=f"2001:db8::{i}") for i in (1, 2, 3)]
    regions = {"910": RegionConfig("far", "Far away", nodes)}
    names = RelayDnsConfig(**{"zone": ZONE, "listen": ("127.0.0.1:0",), **settings})  # type: ignore[arg-type]
    return ControlServer(msgspec.structs.replace(config, regions=regions, relay_dns=names))


async def run(*words: str) -> tuple[int, str]:
    """The command line, in a thread: the server answers it from this loop."""
    result = await asyncio.to_thread(CliRunner().invoke, relay, list(words))
    return result.exit_code, result.output


async def test_the_maps_relays_are_asked_for_by_name_and_printed_as_a_zone(tmp_path: Path) -> None:
    async with server_at(tmp_path) as server:
        assert server.relay_dns is not None
        assert sorted(await dig(server.relay_dns.ports[0], "derp910-all", "A")) == [f"192.0.2.{i}" for i in (1, 2, 3)]
        code, text = await run("zone", "--state", str(tmp_path))
        assert code == 0
        assert len(dns.zone.from_text(text, ZONE).find_rdataset("derp910-all", "AAAA")) == 3
        code, text = await run("zone", "--format", "json", "--state", str(tmp_path))
        told = msgspec.json.decode(text)
        assert (code, told["zone"]) == (0, ZONE + ".")
        assert "zonefile" not in told


async def test_without_a_zone_nothing_listens_and_the_command_says_how(tmp_path: Path) -> None:
    async with server_at(tmp_path, zone="") as server:
        assert server.relay_dns is None
        code, text = await run("zone", "--state", str(tmp_path))
        assert code == 1
        assert text.startswith("Error: the relays have no zone: add [relay_dns]")
        assert text.count("\n") == 1


async def test_a_port_in_use_keeps_the_server_from_starting_in_one_line(tmp_path: Path) -> None:
    async with server_at(tmp_path / "one") as server:
        assert server.relay_dns is not None
        with pytest.raises(StartError, match="another program has the port"):
            async with server_at(tmp_path / "two", listen=(f"127.0.0.1:{server.relay_dns.ports[0]}",)):
                pass


async def test_a_wrong_setting_is_a_start_error(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"relay_dns\.ttl"):
        async with server_at(tmp_path, ttl=3600):
            pass


async def test_a_map_that_changed_without_a_word_is_seen_by_the_rebuild(tmp_path: Path) -> None:
    async with server_at(tmp_path, rebuild=0.05) as server:
        port = server.relay_dns.ports[0] if server.relay_dns is not None else 0
        server.fleet.map.views = DerpViews(derp_map(relays(5, 4)), Edits())

        async def seen() -> bool:
            return len(await dig(port, "derp5-all", "A")) == 4

        await until(seen)


class _OwnRelay:
    """Beside the server, and at another address from its first tick on."""

    pin = None

    def __init__(self) -> None:
        self.region = relays(900, 1)
        self.key = NodeKey(bytes(range(32)))

    def tick(self, *, look: bool = False) -> bool:
        (node,) = self.region.nodes or ()
        self.region = msgspec.structs.replace(self.region, nodes=[msgspec.structs.replace(node, ipv6=ELSEWHERE)])
        return True

    def clients(self) -> int:
        return 0

    def send(self, order: RelayOrder) -> None: ...
    def add_member(self, key: NodeKey) -> None: ...
    def remove_member(self, key: NodeKey) -> None: ...
    def set_bootstrap_dns(self, published: str, unpublished: Mapping[str, str]) -> None: ...
    async def retire(self) -> None: ...


async def test_a_change_of_the_servers_own_relay_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "RELAY_TICK", 0.05)
    configured = server_at(tmp_path).config
    async with ControlServer(configured, lambda *_: _OwnRelay()) as server:
        port = server.relay_dns.ports[0] if server.relay_dns is not None else 0

        async def seen() -> bool:
            return await dig(port, "derp900-all", "AAAA") == [ELSEWHERE]

        await until(seen)
