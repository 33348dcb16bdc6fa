"""Where the list comes from: feeds that are good, old, forged or gone; and the map."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ginnel.core.firewall.hosts import Trust
from ginnel.core.firewall.sync_list import ROLES
from ginnel.shell.firewall.facts import FactsError, Wish
from ginnel.shell.firewall.sync_source import FeedSource, FreshTrust, MapSource, SourceError
from ginnel.shell.metrics_door import listening
from ginnel.wire.allowlist import Entry, Feed, FeedPrivate, sign_feed

KEY, OTHER = FeedPrivate(b"\x01" * 32), FeedPrivate(b"\x02" * 32)
FOREVER = 1 << 40
MAP = {"Regions": {"1": {"RegionID": 1, "RegionCode": "r", "RegionName": "R", "Nodes": [
    {"Name": "1a", "RegionID": 1, "HostName": "derp1a.example.com", "IPv4": "203.0.113.9"}]}}}  # fmt: skip


def feed(serial: int, expires: int = FOREVER, key: FeedPrivate = KEY) -> bytes:
    entry = Entry(
        "derp1a.example.com", "SNI", "relay", ("443/tcp",), (ip_address(f"203.0.113.{serial}"),)  # type: ignore[arg-type]
    )  # fmt: skip
    return sign_feed(Feed("https://mesh.example.com", serial, 0, expires, (entry,)), key)


class Server:
    """`body` is what it has; it says "not modified" to whoever has it already."""

    def __init__(self) -> None:
        self.body = feed(1)
        self.status = 200
        self.whole = 0

    async def __call__(self, request: Request) -> Response:
        tag = f'"{hash(self.body)}"'
        if self.status == 200 and request.headers.get("if-none-match") == tag:
            return Response(status_code=304)
        self.whole += 1
        return Response(self.body, self.status, {"ETag": tag})


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Server, FeedSource]]:
    server = Server()

    async def answer(request: Request) -> Response:
        return await server(request)

    async with listening(Starlette(routes=[Route("/allowlist", answer)]), "127.0.0.1", 0) as port:
        yield server, FeedSource(f"http://127.0.0.1:{port}/allowlist", KEY.public(), ROLES, Trust)


async def test_a_feed_that_is_signed_is_followed_and_fetched_once() -> None:
    async with served() as (server, source):
        first = await source.listing(0)
        assert first.serial == 1
        assert await source.listing(1) == first
        assert server.whole == 1
        server.body = feed(2)
        assert (await source.listing(1)).serial == 2


@pytest.mark.parametrize(
    ("body", "says"),
    [(feed(1, key=OTHER), "not signed|signed by"), (feed(3), "older"), (feed(9, expires=1), "time was over"),
     (b"", "expected"), (b"{}", "expected"), (feed(9)[:-9], "expected")],
    ids=["another key", "older", "expired", "nothing", "no feed", "cut"],
)  # fmt: skip
async def test_a_feed_that_is_no_good_is_an_error(body: bytes, says: str) -> None:
    async with served() as (server, source):
        server.body = body
        with pytest.raises(SourceError, match=says):
            await source.listing(5)


async def test_a_server_that_fails_is_an_error_and_the_next_feed_is_read_whole() -> None:
    async with served() as (server, source):
        await source.listing(0)
        server.status = 500
        with pytest.raises(SourceError, match="HTTP 500"):
            await source.listing(1)
        server.status = 200
        assert (await source.listing(1)).serial == 1


async def test_a_feed_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "feed").write_bytes(feed(4))
    source = FeedSource(str(tmp_path / "feed"), KEY.public(), ROLES, Trust)
    assert (await source.listing(0)).serial == 4
    (tmp_path / "feed").unlink()
    with pytest.raises(SourceError, match="cannot read"):
        await source.listing(4)


def nobody() -> dict[str, object]:
    raise FactsError("the daemon is not here")


async def test_the_map_gives_addresses_and_what_to_ask_for(tmp_path: Path) -> None:
    (tmp_path / "map").write_text(json.dumps(MAP))
    source = MapSource(Wish(derp_map=str(tmp_path / "map")), nobody, ROLES)
    (relay,) = [one for one in (await source.listing(0)).wanted if one.name == "derp1a.example.com"]
    assert relay.addresses == {ip_address("203.0.113.9")}
    assert relay.ask == (4, 6)


@pytest.mark.parametrize("text", ["", "{}", '{"Regions":{}}', '{"Regions":{"1":null}}', "[]"])
async def test_a_map_that_names_nobody_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "map").write_text(text)
    with pytest.raises(SourceError):
        await MapSource(Wish(derp_map=str(tmp_path / "map")), nobody, ROLES).listing(0)


async def test_a_daemon_that_is_away_is_an_error() -> None:
    with pytest.raises(SourceError, match="not here"):
        await MapSource(Wish(), nobody, ROLES).listing(0)


def test_this_machines_own_addresses_are_refused() -> None:
    assert ip_address("127.0.0.1") in FreshTrust(())().own
