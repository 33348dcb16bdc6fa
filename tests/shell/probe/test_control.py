"""A real coordination server behind TLS of the test's own, and what may stand in its place."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ginnel.core.firewall.evidence import Ending, Step
from ginnel.core.firewall.verdict import Blocking, Verdict, classify
from ginnel.shell.probe.control import look_at_control, look_at_page
from ginnel.shell.probe.opened import Door, Patience
from ginnel.shell.probe.trust import NAME, Authorities, Trust
from ginnel.words import MachineKey, MachinePrivate
from tests.shell.node.test_control_client import serving
from tests.shell.probe.strangers import Authority, page, says, silent, splice, stranger
from tests.shell.probe.strangers import serving as tls_of
from tests.shell.probe.test_relay import authority

__all__ = ["authority"]
HOST = "control.example.net"
QUICK = Patience(0.5, 0.5, 0.5)
FULL = Patience()


@pytest.fixture
async def behind() -> AsyncIterator[tuple[int, MachineKey]]:
    """The real server's plain port, and its Noise key."""
    short = Path(tempfile.mkdtemp(prefix="gn"))
    try:
        async with serving(short) as (server, url):
            seen = await look_at_control(
                url.removeprefix("http://"), Door("127.0.0.1", server.plain_ports()[0], None), None
            )
            assert seen.key is not None
            yield server.plain_ports()[0], seen.key
    finally:
        shutil.rmtree(short)


def door(at: int, *, patience: Patience = FULL) -> Door:
    return Door("127.0.0.1", at, Trust.by(NAME + HOST, HOST, Authorities()), patience=patience)


async def verdict(at: int, known: MachineKey | None = None) -> Verdict:
    return classify((await look_at_control(HOST, door(at, patience=QUICK), known)).evidence)


async def test_the_real_server_is_followed_to_the_end_of_its_noise_handshake(
    behind: tuple[int, MachineKey], authority: Authority, tmp_path: Path
) -> None:
    async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await splice(reader, writer, behind[0], tls=False, hello=b"")

    async with stranger(front, tls_of(tmp_path, authority.leaf(HOST))) as at:
        seen = await look_at_control(HOST, door(at), None)
    assert (seen.evidence.step, seen.evidence.ending, seen.key) == (Step.LOGIN, Ending.DONE, behind[1])
    assert seen.evidence.leaf is not None
    assert seen.evidence.leaf.issuer == "Example Root"


async def test_interception_stops_who_does_not_know_the_key_and_is_told_to_who_does(
    behind: tuple[int, MachineKey], authority: Authority, tmp_path: Path
) -> None:
    async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await splice(reader, writer, behind[0], tls=False, hello=b"")

    async with stranger(front, tls_of(tmp_path, Authority.make("Corp Filter").leaf(HOST))) as at:
        unknown = classify((await look_at_control(HOST, door(at), None)).evidence)
        known = classify((await look_at_control(HOST, door(at), behind[1])).evidence)
    assert unknown.blocking is Blocking.TLS_INTERCEPTION
    assert '"Corp Filter"' in unknown.text
    assert known.passed
    assert known.text.startswith("login succeeds, by the server's own key; the certificate is not trusted")
    assert known.text.endswith('issued by "Corp Filter"')


async def test_another_servers_key_than_the_known_one_is_not_believed(behind: tuple[int, MachineKey]) -> None:
    other = MachinePrivate(bytes(range(32))).public()
    seen = await look_at_control("127.0.0.1", Door("127.0.0.1", behind[0], None), other)
    found = classify(seen.evidence)
    assert (found.blocking, found.evidence.step) == (Blocking.PROTOCOL, Step.KEY)
    assert "somebody stands between" in found.text


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (page("403 Forbidden", b"<html>no</html>"), Blocking.BLOCK_PAGE, "HTTP 403"),
        (page("200 OK", b"<html>pay</html>"), Blocking.BLOCK_PAGE, "a page with HTTP 200"),
        (page("302 Found\r\nLocation: https://sso.example/"), Blocking.BLOCK_PAGE, "https://sso.example/"),
        (page("200 OK", b"{}"), Blocking.PROTOCOL, "not the protocol that was agreed on"),
        (page("200 OK", b"x" * 70_000), Blocking.PROTOCOL, "not the protocol that was agreed on"),
        (b"220 mail.example ESMTP\r\n", Blocking.PROTOCOL, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 9000, Blocking.PROTOCOL, "not HTTP"),
        (b"", Blocking.TIMEOUT_AFTER_CONNECT, "no answer to the HTTP request"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_what_answers_instead_of_the_server_is_told_apart(
    answer: bytes, kind: Blocking, words: str, authority: Authority, tmp_path: Path
) -> None:
    async with stranger(says(answer), tls_of(tmp_path, authority.leaf(HOST))) as at:
        found = await verdict(at)
    assert found.blocking is kind
    assert words in found.text


async def test_a_host_that_only_has_to_answer_may_say_anything_but_no(authority: Authority, tmp_path: Path) -> None:
    context = tls_of(tmp_path, authority.leaf(HOST))
    for answer, kind in (
        (page("302 Found\r\nLocation: https://login.example/"), Blocking.NONE),
        (page("404 Not Found", b"<html>"), Blocking.NONE),
        (page("403 Forbidden", b"<html>"), Blocking.BLOCK_PAGE),
        (page("511 Sign in"), Blocking.CAPTIVE_PORTAL),
    ):
        async with stranger(says(answer), context) as at:
            seen = await look_at_page(HOST, door(at, patience=QUICK))
        assert classify(seen.evidence).blocking is kind


async def test_a_dead_server_is_silence(authority: Authority, tmp_path: Path) -> None:
    async with stranger(silent) as at:
        assert (await verdict(at)).blocking is Blocking.TIMEOUT_AFTER_CONNECT


async def test_a_body_that_never_ends_is_left_at_its_limit(authority: Authority, tmp_path: Path) -> None:
    async def pours(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 16384)
            await writer.drain()

    async with stranger(pours, tls_of(tmp_path, authority.leaf(HOST))) as at:
        seen = await look_at_page(HOST, door(at))
    assert seen.evidence.done
    assert seen.evidence.count < 200_000
