"""The daemon's uploads against the real server: its certificate, its answers, its absence."""

import asyncio
import logging
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ginnel.core.logs import limits
from ginnel.shell.node.host_finder import HostFinder, Seen
from ginnel.shell.node.log_upload import FILE, BadTarget, LogUpload, check_target, private_id
from ginnel.shell.node.state import Prefs, server_pins
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import MachinePrivate
from tests.shell.control.control_client import PATIENCE, until
from tests.shell.control.log_client import host_of
from tests.shell.control.test_relayside import bound, server_at

LOCAL = {"log_host": {"names": ["127.0.0.1"]}}
log = logging.getLogger("ginnel.test")


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FLUSH_AFTER", 0.01)
    monkeypatch.setattr(logging.getLogger(), "level", logging.INFO)


@asynccontextmanager
async def uploading(logs: LogUpload) -> AsyncIterator[None]:
    logs.listen()
    task = asyncio.create_task(logs.run())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def texts(server: object) -> list[str]:
    files = host_of(server)._files  # type: ignore[arg-type]
    return [line.text for _, _, lines in files.read(0, None) for line in lines]


async def test_lines_arrive_by_the_pinned_certificate_and_no_key_is_among_them(tmp_path: Path) -> None:
    async with server_at(tmp_path, **LOCAL) as server:
        assert server._relay is not None
        assert server._relay.pin is not None
        logs = LogUpload(f"https://127.0.0.1:{bound(server, 'tls')}", private_id(tmp_path))
        pin = server._relay.pin.hex()
        logs.pins = lambda: frozenset({pin})
        secret = MachinePrivate(os.urandom(32))
        async with uploading(logs):
            log.info("a line with %s in it", secret.secret_text())
            await until(lambda: host_of(server).taken["lines"] > 0)
        assert texts(server) == ["I ginnel.test: a line with [hidden] in it"]
        assert list(host_of(server)._files.shelf.rows) == [logs.public_id]


async def test_the_log_host_is_found_where_dns_fails(tmp_path: Path) -> None:
    async def no_dns(_: str) -> Seen:
        return Seen(why="no such name")

    async with server_at(tmp_path, log_host={"names": ["log.example"]}) as server:
        assert server._relay is not None
        assert server._relay.pin is not None
        logs = LogUpload(f"https://log.example:{bound(server, 'tls')}", private_id(tmp_path))
        pin = server._relay.pin.hex()
        logs.pins = lambda: frozenset({pin})
        logs.finder = HostFinder(look_up=no_dns)
        logs.finder.memory.reached("log.example", ["127.0.0.1"])
        async with uploading(logs):
            log.info("hello")
            await until(lambda: host_of(server).taken["lines"] > 0)
        logs.finder.memory.close()


@pytest.mark.parametrize("pins", [frozenset(), frozenset({"00" * 32})])
async def test_a_certificate_that_nobody_vouches_for_gets_nothing(tmp_path: Path, pins: frozenset[str]) -> None:
    async with server_at(tmp_path, **LOCAL) as server:
        logs = LogUpload(f"https://127.0.0.1:{bound(server, 'tls')}", private_id(tmp_path))
        logs.pins = lambda: pins
        async with uploading(logs):
            log.info("hello")
            await until(lambda: bool(logs.problem))
            assert "is not trusted" in logs.problem
        assert host_of(server).taken == {}


async def test_a_certificate_that_the_system_trusts_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with server_at(tmp_path, **LOCAL) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "relay.crt"))
        logs = LogUpload(f"https://127.0.0.1:{bound(server, 'tls')}", private_id(tmp_path))
        async with uploading(logs):
            log.info("hello")
            await until(lambda: host_of(server).taken["lines"] > 0)
        assert logs.problem == ""


async def test_a_sink_that_is_down_is_told_once_and_the_end_does_not_wait_for_it(tmp_path: Path) -> None:
    logs = LogUpload("https://127.0.0.1:1", private_id(tmp_path))
    async with uploading(logs):
        log.info("hello")
        await until(lambda: bool(logs.problem))
        assert logs.problem.startswith("cannot connect to 127.0.0.1:1")
        assert 20 < (logs._core.next_timeout() or 0) - asyncio.get_running_loop().time() <= 60


async def test_the_last_lines_go_out_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FLUSH_AFTER", 1000.0)
    async with server_at(tmp_path, **LOCAL) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "relay.crt"))
        async with uploading(LogUpload(f"https://127.0.0.1:{bound(server, 'tls')}", private_id(tmp_path))):
            log.info("goodbye")
        assert texts(server) == ["I ginnel.test: goodbye"]


async def test_the_servers_word_ends_it(tmp_path: Path) -> None:
    logs = LogUpload("https://127.0.0.1:1", private_id(tmp_path))
    assert logs.hostinfo()["BackendLogID"] == logs.public_id
    task = asyncio.create_task(logs.run())
    await asyncio.sleep(0)
    logs.disable()
    async with asyncio.timeout(PATIENCE):
        await task
    assert logs.hostinfo() == {}
    assert logs._handler not in logging.getLogger().handlers


def test_the_id_stays_and_is_ours_alone(tmp_path: Path) -> None:
    first = private_id(tmp_path)
    assert private_id(tmp_path) == first
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert first.hex() not in repr(LogUpload("https://x", first))


@pytest.mark.parametrize("spoil", ["open", "damaged", "link"])
def test_an_id_that_others_may_know_is_made_anew(tmp_path: Path, spoil: str) -> None:
    first = private_id(tmp_path)
    path = tmp_path / FILE
    if spoil == "open":
        path.chmod(0o644)
    elif spoil == "damaged":
        path.write_text("junk")
    else:
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    assert private_id(tmp_path) != first
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("url", "expected"),
    [("https://a.example", ("a.example", 443)), ("https://[2001:db8::1]:8443/", ("2001:db8::1", 8443))],
)
def test_a_target_is_an_https_address(url: str, expected: tuple[str, int]) -> None:
    assert check_target(url) == expected


@pytest.mark.parametrize(
    "url", ["http://a.example", "a.example", "https://", "https://a/c/x", "https://a:b", "https://u@a"]
)
def test_nothing_else_is(url: str) -> None:
    with pytest.raises(BadTarget, match="expected https://HOST"):
        check_target(url)


def test_pins_are_the_invites_and_those_of_the_servers_own_relay() -> None:
    def region(number: int, host: str, cert_name: str) -> DERPRegion:
        node = DERPNode(name="a", region_id=number, host_name=host, cert_name=cert_name)
        return DERPRegion(number, "c", "n", nodes=[node])

    derp_map = DERPMap(regions={
        1: region(1, "vpn.example", "sha256-raw:aa"), 2: region(2, "other.example", "sha256-raw:bb"),
        3: region(3, "vpn.example", "vpn.example"), 4: None,
    })  # fmt: skip
    prefs = Prefs(control_url="https://vpn.example:8443", server_pin="cc")
    assert server_pins(prefs, derp_map) == {"aa", "cc"}
    assert server_pins(Prefs(), None) == frozenset()
