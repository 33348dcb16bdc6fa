import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ginnel.shell import relay_map
from ginnel.shell.node.web import WebError
from ginnel.shell.relay_map import MapError, Place, parse_map, read_map, untrusted
from ginnel.wire.tailcfg import encode
from tests.core.firewall.maps import mesh

MAP = encode(mesh(2))


@asynccontextmanager
async def serving(status: str, body: bytes, headers: str = "") -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/derpmap/default"


async def test_a_map_is_read_from_a_url_with_the_headers_beside_it() -> None:
    async with serving("200 OK", MAP, "Ginnel-Relay-Zone: relays.example.com\r\n") as url:
        found = await read_map(Place(url))
    assert found.derp_map == mesh(2)
    assert found.headers["ginnel-relay-zone"] == "relays.example.com"


async def test_a_map_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_bytes(MAP)
    assert (await read_map(Place(str(tmp_path / "map.json")))).derp_map == mesh(2)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"Regions":{}}', b'{"Regions":{"1":null}}', b'{"Regions":null}']
)
async def test_what_is_no_map_or_names_no_relay_is_an_error_in_one_line(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_bytes(body)
    with pytest.raises(MapError) as told:
        await read_map(Place(str(tmp_path / "map.json")))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("status", ["404 Not Found", "304 Not Modified", "500 Oops"])
async def test_another_answer_than_200_is_an_error(status: str) -> None:
    async with serving(status, b"") as url:
        with pytest.raises(MapError, match=f"expected 200, got HTTP {status[:3]}"):
            await read_map(Place(url))


async def test_nobody_there_is_an_error() -> None:
    async with serving("200 OK", MAP) as url:
        pass
    with pytest.raises(MapError, match="cannot fetch the DERP map from http://127"):
        await read_map(Place(url))


async def test_a_file_that_is_missing_or_endless_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_map, "MAP_LIMIT", 1 << 16)
    for name in (str(tmp_path / "absent"), str(tmp_path), "a\0b", "/dev/zero"):
        with pytest.raises(MapError):
            await read_map(Place(name))


def test_a_map_of_ten_thousand_regions_is_short_enough() -> None:
    assert len(parse_map(encode(mesh(10_000)), "x").regions or {}) == 10_000


async def test_a_server_that_says_nothing_is_told_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_map, "MAP_TIME", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/derpmap/default"
        with pytest.raises(MapError, match="no answer within 0 s"):
            await read_map(Place(url))


@pytest.mark.parametrize(
    ("said", "pin", "advice"),
    [
        ("the certificate of h is not trusted", "", "give an invite as --server"),
        ("the certificate of h is not the one that was pinned", "sha256-raw:00", "an old one"),
    ],
)
def test_a_certificate_that_is_refused_comes_with_what_to_do(said: str, pin: str, advice: str) -> None:
    assert advice in untrusted(WebError(said), pin)
    assert untrusted(WebError("connection refused"), pin) == ""
