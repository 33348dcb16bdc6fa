"""`GET /derpmap/default` as people and their tools ask for it."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from ginnel.core.firewall.told import Told
from ginnel.shell.control.config import read_config, static_regions
from ginnel.wire.derpmap import problems
from ginnel.wire.tailcfg import DERPMap, decode
from tests.shell.control.control_client import PATIENCE
from tests.shell.control.fleet_world import fleet_server

pytestmark = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="needs curl and jq")
REGIONS = {
    "910": {"code": "far", "name": "Far away", "nodes": [{"host": "a.example.com"}, {"host": "b.example.com"}]},
    "911": {"code": "off", "name": "Taken out", "nodes": [{"host": "c.example.com"}]},
}


async def output(*words: str, stdin: bytes = b"") -> bytes:
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        out, error = await process.communicate(stdin)
    assert process.returncode == 0, error.decode()
    return out


async def test_jq_lists_the_hosts_of_what_curl_fetches(tmp_path: Path) -> None:
    async with fleet_server(tmp_path, regions=REGIONS, relays={"remove": ["off"]}) as server:
        url = f"http://127.0.0.1:{server.plain_ports()[0]}/derpmap/default"
        body = await output("curl", "--noproxy", "*", "-sSf", url)
        hosts = await output("jq", "-r", ".Regions[].Nodes[].HostName", stdin=body)
        assert hosts.decode().split() == ["127.0.0.1", "a.example.com", "b.example.com"]
        assert problems(decode(DERPMap, body)) == []
        assert body.count(b"\n") > 10, "people read it, too"


async def test_a_map_that_is_known_is_not_sent_again(tmp_path: Path) -> None:
    async with fleet_server(tmp_path, regions=REGIONS) as server:
        url = f"http://127.0.0.1:{server.plain_ports()[0]}/derpmap/default"
        kept = str(tmp_path / "etag")
        ask = (
            "curl",
            "--noproxy",
            "*",
            "-sSf",
            "--etag-save",
            kept,
            "--etag-compare",
            kept,
            "-w",
            "%{http_code}",
            "-o",
        )
        await asyncio.to_thread(Path(kept).touch)
        assert await output(*ask, str(tmp_path / "map"), url) == b"200"
        assert json.loads(await asyncio.to_thread((tmp_path / "map").read_text))["Regions"]
        assert await output(*ask, str(tmp_path / "again"), url) == b"304"
        server.fleet.map.extras = [DERPMap(regions={910: None})]
        server.config.regions.pop("911")
        server.fleet.map.settings.static.pop(911)
        server.fleet.refresh()
        assert await output(*ask, str(tmp_path / "map"), url) == b"200"


async def test_the_headers_tell_firewalls_the_zone_of_the_names_and_the_log_hosts(tmp_path: Path) -> None:
    names = {"zone": "relays.example.com.", "listen": ()}
    logs = {"names": ["log.example.com", "log2.example.com"]}
    async with fleet_server(tmp_path, regions=REGIONS, relay_dns=names, log_host=logs) as server:
        url = f"http://127.0.0.1:{server.plain_ports()[0]}/derpmap/default"
        headers = (await output("curl", "--noproxy", "*", "-sSf", "-D", "-", "-o", "/dev/null", url)).decode()
        to_nodes = server.coordinator.mapper.views.told
    assert to_nodes == Told("relays.example.com", ("log.example.com", "log2.example.com"), to_nodes.feed)
    assert to_nodes.feed.startswith("feedkey:")
    assert "ginnel-relay-zone: relays.example.com\r\n" in headers
    assert "ginnel-log-hosts: log.example.com, log2.example.com\r\n" in headers


async def test_without_names_nothing_is_told(tmp_path: Path) -> None:
    async with fleet_server(tmp_path, regions=REGIONS) as server:
        url = f"http://127.0.0.1:{server.plain_ports()[0]}/derpmap/default"
        headers = await output("curl", "--noproxy", "*", "-sSf", "-D", "-", "-o", "/dev/null", url)
    assert b"ginnel-" not in headers


async def test_a_server_that_is_told_to_name_relays_alone_gives_out_no_address_of_theirs(tmp_path: Path) -> None:
    """Firewalls that learn addresses from DNS answers see each relay asked for by its name."""
    nodes = [{"host": "a.example.com", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1"}]
    regions = {"910": {"code": "far", "name": "Far away", "nodes": nodes}}
    for names_only, shown in ((False, [("192.0.2.1", "2001:db8::1")]), (True, [("", "")])):
        settings = {"regions": regions, "relays": {"names_only": names_only}}
        async with fleet_server(tmp_path / str(names_only), **settings) as server:
            url = f"http://127.0.0.1:{server.plain_ports()[0]}/derpmap/default"
            body = await output("curl", "--noproxy", "*", "-sSf", url)
        region = (decode(DERPMap, body).regions or {})[910]
        assert region is not None
        assert [(node.ipv4, node.ipv6) for node in region.nodes or ()] == shown


def test_a_configured_region_s_relays_have_letters_beyond_z() -> None:
    nodes = [{"host": f"{number}.example.com"} for number in range(28)]
    regions = {"910": {"code": "far", "name": "Far", "nodes": nodes}}
    region = static_regions(read_config(None, {"regions": regions}))[910]
    names = [node.name for node in region.nodes or ()]
    assert names[25:] == ["910z", "910aa", "910ab"]
    assert len(set(names)) == 28
