"""DERP maps by file and by URL: a real HTTP server on loopback, which may fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ginnel.shell.control.fleet_extra import MAX_MAP, ExtraMaps

NODE = b'{"Name":"7a","RegionID":7,"HostName":"h"}'
MAP = b'{"Regions":{"7":{"RegionID":7,"RegionCode":"x","RegionName":"X","Nodes":[' + NODE + b"]}}}"
OTHER = MAP.replace(b'"x"', b'"y"')


@dataclass
class Site:
    status: str = "200 OK"
    body: bytes = MAP
    heads: list[bytes] = field(default_factory=list)
    url: str = ""
    etag: str = "1"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        known = f'If-None-Match: "{self.etag}"'.encode() in head and self.status == "200 OK"
        status, body = ("304 Not Modified", b"") if known else (self.status, self.body)
        length = f"Content-Length: {len(body)}\r\n"
        writer.write(f'HTTP/1.1 {status}\r\nETag: "{self.etag}"\r\nConnection: close\r\n{length}\r\n'.encode() + body)
        writer.close()


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    made = Site()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/map"
    async with server:
        yield made


def codes(extras: ExtraMaps) -> list[str]:
    return [region.region_code for m in extras.maps for region in (m.regions or {}).values() if region is not None]


async def test_a_map_is_asked_for_by_its_etag_and_changes_are_told(tmp_path: Path) -> None:
    told: list[int] = []
    async with site() as there:
        extras = ExtraMaps([there.url], 3600, tmp_path, lambda: told.append(1))
        for _ in range(3):
            await extras.look(extras.extras[0])
        assert (codes(extras), len(told)) == (["x"], 1)
        assert b'If-None-Match: "1"' in there.heads[-1]
        there.body, there.etag = OTHER, "2"
        await extras.look(extras.extras[0])
        assert (codes(extras), len(told)) == (["y"], 2)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        ("500 Oops", MAP, "HTTP 500"),
        ("200 OK", b"<html>", "no DERP map"),
        ("200 OK", b'{"Regions":{}}', "no regions"),
        ("200 OK", MAP.replace(b'"RegionID":7,"HostName"', b'"RegionID":8,"HostName"'), "RegionID says 8"),
        ("200 OK", b" " * (MAX_MAP + 1), "longer than"),
    ],
)
async def test_what_is_no_good_map_leaves_the_last_good_one(tmp_path: Path, status: str, body: bytes, why: str) -> None:
    async with site() as there:
        extras = ExtraMaps([there.url], 3600, tmp_path, lambda: None)
        await extras.look(extras.extras[0])
        there.status, there.body, there.etag = status, body, "2"
        for _ in range(2):
            await extras.look(extras.extras[0])
            assert codes(extras) == ["x"]
            assert why in extras.extras[0].error


async def test_the_last_good_map_outlives_a_restart_without_the_site(tmp_path: Path) -> None:
    async with site() as there:
        extras = ExtraMaps([there.url], 3600, tmp_path, lambda: None)
        await extras.look(extras.extras[0])
    again = ExtraMaps([there.url], 3600, tmp_path, lambda: None)
    again.load()
    await again.look(again.extras[0])
    assert codes(again) == ["x"]
    assert again.extras[0].error


async def test_a_file_is_read_again_and_a_null_in_it_is_kept_for_the_merge(tmp_path: Path) -> None:
    source = tmp_path / "map.json"
    source.write_bytes(MAP)
    extras = ExtraMaps([str(source)], 3600, tmp_path, lambda: None)
    extras.load()
    assert codes(extras) == ["x"]
    source.write_bytes(b'{"Regions":{"3":null}}')
    await extras.look(extras.extras[0])
    assert extras.maps[0].regions == {3: None}
