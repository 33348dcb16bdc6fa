import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ginnel.core.firewall.evidence import Ending, Step
from ginnel.core.firewall.verdict import Blocking, classify
from ginnel.core.relay.identity import SelfSigned, read_leaf
from ginnel.shell.probe.opened import Door, Patience
from ginnel.shell.probe.relay import Caller, RelaySeen, look_at_relay
from ginnel.shell.probe.trust import Authorities, Trust
from ginnel.wire.derplogin import introduction
from ginnel.words import NodePrivate
from tests.shell.probe.strangers import (
    Authority,
    Handler,
    drips,
    page,
    reset,
    resets,
    says,
    serving,
    silent,
    splice,
    stranger,
)
from tests.shell.relays import ENTROPY, KEY, NOW, Serve, port

CALLER = Caller(NodePrivate(bytes([7] * 32)), introduction(app_name="test"))
FULL = Patience()
SHORT = Patience(connect=0.3, step=0.3, login=0.3)
PIN = read_leaf(SelfSigned.make("127.0.0.1", ENTROPY, NOW).certificate).pin
HTML = b"<html><body>blocked by policy</body></html>"
HOST = "derp1.example.net"


def door(port: int, verify: str = "insecure", *, host: str = "127.0.0.1", patience: Patience = FULL) -> Door:
    return Door("127.0.0.1", port, Trust.by(verify, host, Authorities()), patience=patience)


async def looked(at: int, verify: str = "insecure", host: str = "127.0.0.1") -> RelaySeen:
    return await look_at_relay(host, door(at, verify, host=host, patience=SHORT), CALLER)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """One that this machine trusts."""
    made = Authority.make("Example Root")
    (tmp_path / "roots.pem").write_bytes(made.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    return made


async def test_a_relay_lets_a_stranger_in(serve: Serve) -> None:
    seen = await look_at_relay("127.0.0.1", door(port(serve()), PIN), CALLER)
    assert (seen.evidence.step, seen.evidence.ending, seen.entered) == (Step.LOGIN, Ending.DONE, True)
    assert seen.key is not None
    assert seen.key.raw == KEY
    assert seen.evidence.leaf is not None
    assert seen.evidence.leaf.pin == PIN
    assert classify(seen.evidence).passed


async def test_a_relay_that_wants_members_alone_still_shows_its_key(serve: Serve) -> None:
    seen = await look_at_relay("127.0.0.1", door(port(serve(members_only=True)), PIN), CALLER)
    assert (seen.evidence.step, seen.entered) == (Step.KEY, False)
    assert classify(seen.evidence).passed


async def test_a_port_where_nobody_listens_refuses() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        seen = await looked(unused.getsockname()[1])
    assert classify(seen.evidence).blocking is Blocking.REFUSED


async def test_a_reset_after_the_client_hello_is_a_filter_inside_tls() -> None:
    async with stranger(resets) as at:
        verdict = classify((await looked(at)).evidence)
    assert (verdict.blocking, verdict.evidence.step) == (Blocking.RESET, Step.TLS)
    assert "after the ClientHello" in verdict.text


def names_filter(behind: int, forbidden: bytes, refuse: Callable[[asyncio.StreamWriter], None] | None) -> Handler:
    """What looks at the name in the ClientHello: passes others on, and resets, or is silent (None)."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = await reader.read(4096)
        if forbidden in hello:
            if refuse is None:
                await silent(reader, writer)
            else:
                refuse(writer)
            return
        await splice(reader, writer, behind, tls=False, hello=hello)

    return handle


@pytest.mark.parametrize(("way", "kind"), [("reset", Blocking.RESET), ("silent", Blocking.TIMEOUT_AFTER_CONNECT)])
async def test_a_filter_by_name_is_told_by_a_client_hello_without_one(serve: Serve, way: str, kind: Blocking) -> None:
    async with stranger(names_filter(port(serve()), HOST.encode(), reset if way == "reset" else None)) as at:
        verdict = classify((await looked(at, "name:" + HOST, HOST)).evidence)
    assert verdict.blocking is kind
    assert "a filter by name (SNI)" in verdict.text


async def test_silence_after_connecting_is_its_own_kind() -> None:
    async with stranger(silent) as at:
        verdict = classify((await looked(at)).evidence)
    assert verdict.blocking is Blocking.TIMEOUT_AFTER_CONNECT
    assert verdict.evidence.small_segments is False


async def test_an_intercepted_relay_names_the_issuer(tmp_path: Path, authority: Authority) -> None:
    proxy = Authority.make("Example Corp Web Filter")
    async with stranger(silent, serving(tmp_path, proxy.leaf(HOST))) as at:
        named = classify((await looked(at, "name:" + HOST, HOST)).evidence)
        pinned = classify((await looked(at, PIN, HOST)).evidence)
    for verdict in (named, pinned):
        assert verdict.blocking is Blocking.TLS_INTERCEPTION
        assert 'issued by "Example Corp Web Filter"' in verdict.text


async def test_an_authority_of_a_filter_is_noticed_even_where_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    """Its root stands in this machine's store; what is behind it is the true relay."""
    proxy = Authority.make("FortiGate CA")
    (tmp_path / "roots.pem").write_bytes(proxy.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await splice(reader, writer, behind, tls=True, hello=b"")

    behind = port(serve())
    async with stranger(handle, serving(tmp_path, proxy.leaf(HOST))) as at:
        seen = await look_at_relay(HOST, door(at, "name:" + HOST, host=HOST), CALLER)
    assert seen.entered
    assert classify(seen.evidence).blocking is Blocking.TLS_INTERCEPTION


@pytest.mark.parametrize(
    ("name", "days", "words"),
    [("other.example", 30, "Hostname mismatch"), (HOST, -3, "certificate has expired")],
)
async def test_a_wrong_certificate_is_told_with_what_is_wrong(
    tmp_path: Path, authority: Authority, name: str, days: int, words: str
) -> None:
    async with stranger(silent, serving(tmp_path, authority.leaf(name, days=days))) as at:
        verdict = classify((await looked(at, "name:" + HOST, HOST)).evidence)
    assert verdict.blocking is Blocking.WRONG_CERTIFICATE
    assert words in verdict.text
    assert f'a certificate of "{name}"' in verdict.text


async def test_another_self_signed_certificate_than_the_pinned_one_is_wrong(serve: Serve) -> None:
    verdict = classify((await looked(port(serve()), "sha256-raw:" + "0" * 64)).evidence)
    assert verdict.blocking is Blocking.WRONG_CERTIFICATE
    assert "pins" in verdict.text


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (page("403 Forbidden\r\nContent-Type: text/html", HTML), Blocking.BLOCK_PAGE, "HTTP 403"),
        (page("200 OK", HTML), Blocking.BLOCK_PAGE, "a page with HTTP 200"),
        (page("302 Found\r\nLocation: http://block.example/?x"), Blocking.BLOCK_PAGE, "http://block.example/?x"),
        (page("511 Network Authentication Required", HTML), Blocking.CAPTIVE_PORTAL, "sign in"),
        (page("407 Proxy Authentication Required"), Blocking.BLOCK_PAGE, "HTTP 407"),
        (page("426 Upgrade Required"), Blocking.PROTOCOL, "strips the upgrade"),
        (page("404 Not Found"), Blocking.PROTOCOL, "HTTP 404"),
        (b"\x00\x01\x02garbage that is no HTTP at all", Blocking.PROTOCOL, "not HTTP: the answer begins"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: DERP\r\n\r\n" + b"\xff" * 99, Blocking.PROTOCOL, "at most"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: other\r\n\r\n", Blocking.PROTOCOL, "HTTP 101 comes instead"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: DERP\r\n\r\n", Blocking.TIMEOUT_AFTER_CONNECT, "the upgrade"),
        (b"", Blocking.TIMEOUT_AFTER_CONNECT, "no answer to the HTTP request"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_what_answers_instead_of_a_relay_is_told_apart(
    tmp_path: Path, answer: bytes, kind: Blocking, words: str
) -> None:
    context = serving(tmp_path, Authority.make("x").leaf(HOST))
    async with stranger(says(answer), context) as at:
        verdict = classify((await looked(at)).evidence)
    assert verdict.blocking is kind
    assert words in verdict.text


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (page("403 Forbidden", HTML), Blocking.BLOCK_PAGE, "a page with HTTP 403"),
        (b"SSH-2.0-OpenSSH_9\r\n", Blocking.PROTOCOL, "not TLS: the answer begins b'SSH-2.0-OpenSSH"),
        (b"\x15\x03\x03\x00\x02\x02\x28", Blocking.PROTOCOL, "the TLS handshake is refused"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_what_answers_instead_of_tls_is_told_apart(answer: bytes, kind: Blocking, words: str) -> None:
    async with stranger(says(answer)) as at:
        verdict = classify((await looked(at)).evidence)
    assert verdict.blocking is kind
    assert words in verdict.text
    assert verdict.evidence.received == answer[:256]


async def test_a_head_that_never_ends_is_left_within_its_bounds(tmp_path: Path) -> None:
    async with stranger(drips, serving(tmp_path, Authority.make("x").leaf(HOST))) as at:
        seen = await look_at_relay("127.0.0.1", door(at), CALLER)
    assert "longer than 16384 bytes" in seen.evidence.error
    assert seen.evidence.count < 64 << 10
    assert len(seen.evidence.received) == 256


async def test_a_slow_drip_is_left_in_time(tmp_path: Path) -> None:
    async def one_byte_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 101 Switching Protocols, slowly and slowly and slowly" * 1000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.01)

    async with stranger(one_byte_each, serving(tmp_path, Authority.make("x").leaf(HOST))) as at:
        seen = await looked(at)
    assert (seen.evidence.step, seen.evidence.ending) == (Step.UPGRADE, Ending.SILENCE)
    assert seen.seconds < 5


async def test_a_giant_certificate_is_refused(tmp_path: Path) -> None:
    context = serving(tmp_path, Authority.make("x").leaf(HOST, extra=3000))
    async with stranger(silent, context) as at:
        seen = await look_at_relay("127.0.0.1", door(at), CALLER)
    assert seen.evidence.step is Step.TLS
    assert classify(seen.evidence).blocking is Blocking.PROTOCOL
    assert seen.evidence.count < 300 << 10


async def test_endless_frames_before_the_key_are_left(tmp_path: Path) -> None:
    keep_alive = b"\x06" + bytes(4)

    async def chatters(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        key = b"\x01" + (40).to_bytes(4, "big") + bytes.fromhex("444552 50f09f9491") + os.urandom(32)
        writer.write(b"HTTP/1.1 101 Switching\r\nUpgrade: DERP\r\n\r\n" + key)
        while True:
            writer.write(keep_alive * 1000)
            await writer.drain()

    async with stranger(chatters, serving(tmp_path, Authority.make("x").leaf(HOST))) as at:
        seen = await look_at_relay("127.0.0.1", door(at), CALLER)
    assert seen.evidence.step is Step.LOGIN
    assert "bytes before the login" in seen.evidence.error
