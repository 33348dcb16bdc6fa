import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from ginnel.shell.node import local_socket
from ginnel.shell.node.local_api import MAX_READERS, LocalApi, Start
from ginnel.shell.node.local_http import Refusal
from ginnel.shell.node.rights import Rights, peer_uid, rights_of
from ginnel.shell.node.state import Prefs

NOBODY = 65534


class Daemon:
    """Answers with values that a test can point at."""

    def __init__(self) -> None:
        self.kept = Prefs(control_url="https://c.example")
        self.started: list[Start] = []
        self.done: list[str] = []
        self.watched = 0
        self.left = asyncio.Event()

    def status(self, *, peers: bool):
        return {"BackendState": "NeedsLogin", "AuthURL": "https://c.example/a/1", "Peer": {"x": {}} if peers else {}}

    def whois(self, address: str):
        raise Refusal(404, f"no match for {address}")

    async def ping(self, address: str, size: int):
        return {"IP": address, "Size": size}

    def prefs(self) -> Prefs:
        return self.kept

    def set_prefs(self, prefs: Prefs) -> None:
        self.kept = prefs

    def start(self, request: Start) -> None:
        self.started.append(request)

    def login_interactive(self) -> None:
        self.done.append("login")

    async def logout(self) -> None:
        self.done.append("logout")

    def derp_map(self):
        return {"Regions": {}}

    async def netcheck(self, *, full, verbose):
        return {"UDP": True}

    async def watch(self) -> AsyncIterator[dict]:
        self.watched += 1
        try:
            yield {"State": "NeedsLogin", "AuthURL": "https://c.example/a/1"}
            await asyncio.Event().wait()
        finally:
            self.watched -= 1
            self.left.set()

    async def port_mapping(self):
        return {"Text": "none", "Report": {"External": ""}}

    def inside(self):
        return {"counters": {}}


@asynccontextmanager
async def api(tmp_path: Path, uid: int | None = 0):
    daemon = Daemon()
    listener = local_socket.listen(tmp_path / "s")
    serving = asyncio.create_task(LocalApi(daemon, credentials=lambda _: uid).serve(listener.listener))
    try:
        yield daemon, tmp_path / "s"
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        local_socket.remove(tmp_path / "s", listener)


async def ask(path: Path, method: str, name: str, body: object = None, *, head: str = "", host: str = "") -> tuple:
    reader, writer = await asyncio.open_unix_connection(path)
    data = b"" if body is None else json.dumps(body).encode()
    writer.write(f"{method} /localapi/v0/{name} HTTP/1.1\r\nHost: {host}\r\n{head}".encode())
    writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
    async with asyncio.timeout(10):
        got = await reader.read()
    writer.close()
    first, _, rest = got.partition(b"\r\n\r\n")
    return int(first.split()[1]), json.loads(rest) if rest else None


WRITES = [
    ("PATCH", "prefs", {"WantRunning": True, "WantRunningSet": True}),
    ("POST", "start", {}),
    ("POST", "login-interactive", None),
    ("POST", "logout", None),
]


@pytest.mark.parametrize(("method", "name", "body"), WRITES)
@pytest.mark.parametrize("uid", [NOBODY, None])
async def test_others_may_not_change_anything(tmp_path: Path, method: str, name: str, body: object, uid) -> None:
    async with api(tmp_path, uid) as (daemon, path):
        status, answer = await ask(path, method, name, body)
        assert (status, "sudo" in answer["error"]) == (403, True)
        assert (daemon.started, daemon.done, daemon.kept.want_running) == ([], [], False)


@pytest.mark.parametrize(("method", "name", "body"), WRITES)
async def test_root_may(tmp_path: Path, method: str, name: str, body: object) -> None:
    async with api(tmp_path) as (_, path):
        assert (await ask(path, method, name, body))[0] in (200, 204)


async def test_others_see_a_status_without_the_login_address(tmp_path: Path) -> None:
    async with api(tmp_path, NOBODY) as (_, path):
        assert (await ask(path, "GET", "status"))[1]["AuthURL"] == ""
    async with api(tmp_path, 0) as (_, path):
        assert (await ask(path, "GET", "status"))[1]["AuthURL"] == "https://c.example/a/1"


async def test_peers_are_left_out_on_request(tmp_path: Path) -> None:
    async with api(tmp_path) as (_, path):
        assert (await ask(path, "GET", "status?peers=false"))[1]["Peer"] == {}


@pytest.mark.parametrize(
    ("method", "name", "head", "host", "status"),
    [
        ("GET", "status", "Origin: http://evil.example\r\n", "", 403),
        ("GET", "status", "Referer: http://evil.example/\r\n", "", 403),
        ("GET", "status", "", "evil.example", 403),
        ("GET", "status", "", "local-tailscaled.sock", 200),
        ("DELETE", "status", "", "", 405),
        ("GET", "etc/passwd", "", "", 404),
        ("GET", "whois?addr=100.64.0.9", "", "", 404),
        ("POST", "ping?ip=100.64.0.9&size=9001", "", "", 400),
        ("POST", "ping?ip=100.64.0.9&type=peerapi", "", "", 400),
    ],
)
async def test_refusals(tmp_path: Path, method: str, name: str, head: str, host: str, status: int) -> None:
    async with api(tmp_path) as (_, path):
        assert (await ask(path, method, name, head=head, host=host))[0] == status


async def test_only_masked_members_of_the_prefs_change(tmp_path: Path) -> None:
    async with api(tmp_path) as (daemon, path):
        await ask(path, "PATCH", "prefs", {"WantRunning": True, "WantRunningSet": True, "Hostname": "other"})
        assert daemon.kept == Prefs(control_url="https://c.example", want_running=True)


@pytest.mark.parametrize(
    "body",
    [
        {"WantRunning": "yes", "WantRunningSet": True},
        {"PathPolicy": "sideways", "PathPolicySet": True},
        {"PathPolicies": {"n1": "never"}, "PathPoliciesSet": True},
        [1],
    ],
)
async def test_prefs_of_a_wrong_type_are_refused(tmp_path: Path, body: object) -> None:
    async with api(tmp_path) as (daemon, path):
        assert (await ask(path, "PATCH", "prefs", body))[0] == 400
        assert daemon.kept == Prefs(control_url="https://c.example")


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20000, b"\r\n\r\n\r\n"])
async def test_garbage_ends_its_own_connection_only(tmp_path: Path, garbage: bytes) -> None:
    async with api(tmp_path) as (_, path):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(garbage)
        writer.write_eof()
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                assert (await reader.read()).startswith((b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 431", b""))
        writer.close()
        assert (await ask(path, "GET", "status"))[0] == 200


async def test_a_body_has_a_limit(tmp_path: Path) -> None:
    async with api(tmp_path) as (daemon, path):
        status, _ = await ask(path, "POST", "start", "x" * (1 << 20))
        assert (status, daemon.started) == (413, [])


async def test_a_path_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    async with api(tmp_path) as (_, path):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET //[x HTTP/1.1\r\nHost:\r\n\r\n")
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()


async def test_those_who_may_only_look_cannot_keep_root_out(tmp_path: Path) -> None:
    uids = [NOBODY] * 200 + [0]
    listener = local_socket.listen(tmp_path / "s")
    local = LocalApi(Daemon(), credentials=lambda _: uids.pop(0))
    serving = asyncio.create_task(local.serve(listener.listener))
    open_ones = []
    try:
        for _ in range(200):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
            writer.write(b"GET /localapi/v0/watch-ipn-bus HTTP/1.1\r\nHost:\r\n\r\n")
            open_ones.append((reader, writer))
        async with asyncio.timeout(10):
            heads = await asyncio.gather(*(reader.read(12) for reader, _ in open_ones), return_exceptions=True)
            assert heads.count(b"HTTP/1.1 200") == MAX_READERS
            assert (await ask(tmp_path / "s", "GET", "status"))[0] == 200
    finally:
        for _, writer in open_ones:
            writer.close()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        local_socket.remove(tmp_path / "s", listener)


async def test_a_watcher_that_hangs_up_is_forgotten(tmp_path: Path) -> None:
    async with api(tmp_path) as (daemon, path):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /localapi/v0/watch-ipn-bus HTTP/1.1\r\nHost:\r\n\r\n")
        async with asyncio.timeout(10):
            await reader.readuntil(b"/a/1")
            assert daemon.watched == 1
            writer.close()
            await daemon.left.wait()
        assert daemon.watched == 0


def test_the_kernel_tells_who_connected() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_uid(ours) == os.geteuid()


@pytest.mark.parametrize(
    ("uid", "rights"),
    [(0, Rights.WRITE), (os.geteuid(), Rights.WRITE), (NOBODY, Rights.READ), (None, Rights.READ)],
)
def test_rights_by_uid(uid: int | None, rights: Rights) -> None:
    assert rights_of(uid) is rights


def test_a_live_socket_is_respected_and_a_stale_one_removed(tmp_path: Path) -> None:
    first = local_socket.listen(tmp_path / "s")
    with pytest.raises(local_socket.SocketTaken, match="another ginneld"):
        local_socket.listen(tmp_path / "s")
    first.listener.close()  # as after kill -9: the file stays
    second = local_socket.listen(tmp_path / "s")
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o666
    local_socket.remove(tmp_path / "s", second)
    assert not (tmp_path / "s").exists()


def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(local_socket.SocketTaken, match="no socket"):
        local_socket.listen(tmp_path / "s")
    assert (tmp_path / "s").read_text() == "mine"
