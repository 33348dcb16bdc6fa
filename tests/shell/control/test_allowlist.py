"""`GET /allowlist` of a real server, on loopback."""

import asyncio
import http.client
import json
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ginnel.cli.server import server as server_command
from ginnel.core.control.fleet_states import Announced
from ginnel.shell.control.beside import StartError
from ginnel.shell.control.config import read_config
from ginnel.shell.control.config_relays import ConfigError, seconds_of
from ginnel.shell.control.run import ControlServer
from ginnel.wire.allowlist import Feed, verify_feed
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import WallTime
from tests.shell.control.control_client import PATIENCE
from tests.shell.control.fleet_world import QUICK, eventually, fleet_server, joined, nodes_of, token_for

REGIONS = {
    "910": {"code": "far", "name": "Far away", "nodes": [
        {"host": "a.example.com", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1", "can_port80": True},
        {"host": "b.example.com", "ipv4": "192.0.2.2"},
    ]},
    "911": {"code": "off", "name": "Taken out", "nodes": [{"host": "c.example.com", "ipv4": "192.0.2.9"}]},
}  # fmt: skip
HELD = {**QUICK, "announce_before": "1h"}


async def get(server: ControlServer, query: str = "", **headers: str) -> tuple[int, dict[str, str], bytes]:
    def ask() -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", server.plain_ports()[0], timeout=PATIENCE)
        connection.request("GET", "/allowlist" + query, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, body

    return await asyncio.to_thread(ask)


async def feed_of(server: ControlServer, last: int = 0) -> Feed:
    status, _, body = await get(server)
    assert status == 200
    return verify_feed(body, server.allowlist.private.public(), last, WallTime(time.time()))


def names(feed: Feed) -> list[str]:
    return [entry.name or str(entry.addresses[0]) for entry in feed.entries]


async def test_the_feed_is_signed_by_the_key_that_the_admin_is_shown(tmp_path: Path) -> None:
    async with fleet_server(tmp_path, regions=REGIONS, relays={"remove": ["off"]}) as server:
        shown = await asyncio.to_thread(CliRunner().invoke, server_command, ["allowlist-key", "--state", str(tmp_path)])
        assert shown.exit_code == 0
        assert shown.output.strip() == str(server.allowlist.private.public())
        feed = await feed_of(server)
        assert names(feed) == ["127.0.0.1", "127.0.0.1", "127.0.0.1", "a.example.com", "b.example.com"]
        assert feed.server == server.config.url
        far = feed.entries[-2]
        assert (far.ports, far.region, far.region_code, far.node) == (
            ("443/tcp", "3478/udp", "80/tcp"), 910, "far", "910a",
        )  # fmt: skip


async def test_the_key_is_made_once_and_for_nobody_else_to_read(tmp_path: Path) -> None:
    async with fleet_server(tmp_path) as server:
        key = server.allowlist.private.public()
    path = tmp_path / "allowlist_private.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with fleet_server(tmp_path) as server:
        assert server.allowlist.private.public() == key
    path.write_text("feedprivate:123\n")
    with pytest.raises(StartError, match=r"cannot read the allowlist's key .* it is damaged; restore it from a backup"):
        async with fleet_server(tmp_path):
            pass


async def test_who_knows_the_feed_is_not_sent_it_again_until_it_changes(tmp_path: Path) -> None:
    async with fleet_server(tmp_path, regions=REGIONS) as server:
        for query in ("", "?format=text", "?format=text&level=sni"):
            status, headers, _ = await get(server, query)
            assert status == 200
            assert (await get(server, query, if_none_match=headers["etag"]))[0] == 304
        _, headers, _ = await get(server)
        before = await feed_of(server)
        server.fleet.map.extras = [DERPMap(regions={900: None})]
        server.fleet.map.settings.static.pop(911)
        server.fleet.refresh()
        status, _, _ = await get(server, if_none_match=headers["etag"])
        assert status == 200
        after = await feed_of(server, before.serial + 1)
        assert "c.example.com" not in names(after)
        assert [entry.name for entry in after.leaving] == ["c.example.com"]
        assert server.coordinator.counters["allowlist.unchanged"] == 3


async def test_the_serial_survives_a_restart(tmp_path: Path) -> None:
    async with fleet_server(tmp_path, relay=False, regions=REGIONS) as server:
        feed = await feed_of(server)
        port = server.plain_ports()[0]
    async with fleet_server(tmp_path, port=port, relay=False, regions=REGIONS) as server:
        again = await feed_of(server, feed.serial)
        assert again.serial == feed.serial
    (tmp_path / "allowlist.json").write_bytes(b"garbage")
    async with fleet_server(tmp_path, port=port, relay=False, regions=REGIONS) as server:
        await feed_of(server, feed.serial)


@pytest.mark.parametrize(
    ("query", "lines"),
    [
        ("?format=text", ["127.0.0.1", "192.0.2.1", "192.0.2.2", "192.0.2.9", "2001:db8::1"]),
        ("?format=text&level=l3&family=6", ["2001:db8::1"]),
        ("?format=text&family=4", ["127.0.0.1", "192.0.2.1", "192.0.2.2", "192.0.2.9"]),
        ("?format=text&level=sni", ["a.example.com", "b.example.com", "c.example.com"]),
    ],
)
async def test_firewalls_that_fetch_lists_get_plain_ones(tmp_path: Path, query: str, lines: list[str]) -> None:
    async with fleet_server(tmp_path, regions=REGIONS) as server:
        status, headers, body = await get(server, query)
        assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert body.decode().splitlines() == lines
        assert (await get(server, query.replace("format=text", ""), accept="text/plain"))[2] == body


async def test_a_browser_gets_json_and_a_wrong_question_one_line(tmp_path: Path) -> None:
    async with fleet_server(tmp_path) as server:
        _, headers, _ = await get(server, accept="text/html,application/xhtml+xml,*/*;q=0.8")
        assert headers["content-type"] == "application/json"
        for query in ("?format=xml", "?format=text&level=l4", "?format=text&family=5", "?level=sni", "?family=4",
                      "?format=text&level=sni&family=4"):  # fmt: skip
            status, _, body = await get(server, query)
            assert status == 400
            assert body.count(b"\n") == 1


async def test_an_empty_list_is_never_given_out(tmp_path: Path) -> None:
    async with fleet_server(tmp_path) as server:
        status, _, body = await get(server, "?format=text&family=6")
        assert status == 404
        assert body.startswith(b"no IPv6 addresses are known")


async def test_with_a_zone_the_names_of_regions_are_in_it(tmp_path: Path) -> None:
    zone = {"zone": "Relays.example.com", "listen": ["127.0.0.1:0"]}
    async with fleet_server(tmp_path, regions=REGIONS, relay_dns=zone) as server:
        feed = await feed_of(server)
        every = {entry.name: list(map(str, entry.ipv4)) for entry in feed.entries if entry.level == "L3" and entry.name}
        assert every["derp910-all.relays.example.com"] == ["192.0.2.1", "192.0.2.2"]
        _, _, body = await get(server, "?format=text&level=fqdn")
        assert "derp910-all.relays.example.com" in body.decode().split()


async def test_a_relay_is_announced_before_the_map_names_it(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server", relays=HELD) as server:  # noqa: SIM117
        async with joined(tmp_path / "relay", await token_for(server)):
            await eventually(lambda: server.allowlist.core.feed(server.coordinator.wall()).pending, "the announcement")
            feed = await feed_of(server)
            (pending,) = feed.pending
            assert (pending.node, str(pending.ipv4[0])) == ("901a", "127.0.0.1")
            assert 3500 < pending.use_after - time.time() < 3700
            assert nodes_of(server, 901) == []
            (relay,) = (r for r in server.fleet.book.relays.values() if r.name == "901a")
            await eventually(lambda: isinstance(server.fleet.core.state(relay.id), Announced), "held back")
            listed = await listing(server)
            assert listed["901a"]["state"] == "announced"
            assert 3500 < listed["901a"]["announced_seconds_left"] < 3700
            past = replace(pending, use_after=int(time.time()) - 1)
            server.allowlist.core._pending["901a"] = past  # an hour later
            server.fleet.perform(server.fleet.core.hint(relay.id, server.fleet.now()))
            await eventually(lambda: nodes_of(server, 901), "the relay in the map")
            after = await feed_of(server, feed.serial + 1)
            assert after.pending == ()
            assert "901a" in {entry.node for entry in after.entries}


async def test_relays_that_were_in_the_map_before_a_restart_are_not_held_back(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server:
        port = server.plain_ports()[0]
        token = await token_for(server)
        async with joined(tmp_path / "relay", token):
            await eventually(lambda: nodes_of(server, 901), "the relay in the map")
            await eventually(lambda: {r.state for r in server.fleet.book.relays.values()} == {"in"}, "its row")
    async with fleet_server(tmp_path / "server", port=port, relays=HELD) as server:
        assert nodes_of(server, 901)
        assert (await feed_of(server)).pending == ()


async def listing(server: ControlServer) -> dict[str, Any]:
    from ginnel.shell.control.relay_arguments import Nothing

    return {relay["name"]: relay for relay in await server.admin.relays.listed(Nothing(), "test")}


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("15m", 900), ("1h30m", 5400), ("2d", 172800)])
def test_durations_are_read(text: str, seconds: float) -> None:
    config = read_config(None, {"state": "/x", "url": "https://a.example", "relays": {"announce_before": text}})
    assert seconds_of(config.relays.announce_before) == seconds


@pytest.mark.parametrize("text", ["", "15", "15 minutes", "-1s", "1.5h", "m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="announce_before"):
        read_config(None, {"state": "/x", "url": "https://a.example", "relays": {"announce_before": text}})


async def test_the_feed_is_counted(tmp_path: Path) -> None:
    async with fleet_server(tmp_path, regions=REGIONS, metrics="127.0.0.1:0") as server:
        await get(server)
        from tests.shell.control.test_numbers import numbers

        found = await numbers(server.metrics_port)
        assert found["ginnel_server_allowlist_entries"] == 6
        assert found["ginnel_server_allowlist_sent_json_total"] == 1
        assert (
            json.loads(json.loads((await get(server))[2])["signed"])["serial"]
            == found["ginnel_server_allowlist_serial"]
        )
