"""The log host over real sockets and files: what it takes, what it refuses, and what it costs."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ginnel.core.logs import limits
from ginnel.shell.control.beside import StartError
from ginnel.shell.control.config import ConfigError
from ginnel.shell.control.logsink import TooManyFollowers
from ginnel.shell.control.logsink_admin import ReadLogs, log_verbs
from ginnel.shell.control.run import ControlServer
from ginnel.wire.zstdframe import fold
from ginnel.words import WallTime
from tests.shell.control.control_client import PATIENCE, Client, auth_key, config_for, running, until
from tests.shell.control.log_client import (
    LOG_HOST,
    NAME,
    ask,
    entries,
    host_of,
    private,
    public,
    read_answer,
    request,
    upload,
)

BOMB = fold(b"[" + b"{}," * 999_999 + b"{}]")


async def texts(server: ControlServer, node: str = "") -> list[str]:
    kind, read = log_verbs(server.log_host)["logs.read"]
    answer = await read(server.admin, kind(node=node), "test")  # type: ignore[call-arg]
    return [line["text"] for line in answer["lines"]]


async def test_lines_are_taken_and_read(tmp_path: Path) -> None:
    async with running(tmp_path, **LOG_HOST) as server:
        answer = await upload(server, 1, "one", "two")
        assert (answer.status, answer.body) == (200, "")
        body = fold(entries("three"))
        answer = await ask(server, request(f"/c/x/{private(1)}?copyId=1", body, headers=["Content-Encoding: zstd"]))
        assert answer.status == 200
        assert await texts(server) == ["one", "two", "three"]
        assert await texts(server, public(1)) == ["one", "two", "three"]
        assert await texts(server, public(2)) == []


async def test_without_a_configured_name_there_is_no_log_host(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        assert (await upload(server, 1, "one")).status == 404
        assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("host", "status"),
    [(NAME, 200), ("LOG.example.com.:443", 200), ("vpn.example.com", 404), ("", 404), (f"x.{NAME}", 404)],
)
async def test_only_its_own_names_take_logs(tmp_path: Path, host: str, status: int) -> None:
    async with running(tmp_path, **LOG_HOST) as server:
        assert (await ask(server, request(f"/c/x/{private(1)}", entries("a"), host=host))).status == status


@pytest.mark.parametrize("name", ["https://log.example.com", "log.example.com:443", "", "a b", "../x"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"log_host.names: .* is not a host name; write it without https:// and port"):
        config_for(tmp_path, log_host={"names": [name]})


async def test_an_official_client_keeps_its_connection(tmp_path: Path) -> None:
    async with running(tmp_path, **LOG_HOST) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.plain_ports()[0])
        for text in ("one", "two", "three"):
            writer.write(request(f"/c/x/{private(1)}", entries(text)))
            assert (await read_answer(reader)).status == 200
        writer.write(request("/health", b"", method="GET"))
        assert (await read_answer(reader)).status == 200
        writer.close()
        assert await texts(server) == ["one", "two", "three"]


async def test_every_other_connection_carries_one_request(tmp_path: Path) -> None:
    async with running(tmp_path, **LOG_HOST) as server:
        assert (await ask(server, request("/health", b"", method="GET"))).headers["connection"] == "close"


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "reason"),
    [
        (f"/c/x/{private(1)}0", b"[]", [], 404, "not a log's path"),
        (f"/c/../../{private(1)}", b"[]", [], 404, "not a log's path"),
        (f"/c/%2e%2e/{private(1)}", b"[]", [], 404, "not a log's path"),
        ("/c/x/" + "%2e%2e%2f" * 21 + "a", b"[]", [], 404, "not a log's path"),
        (f"/c/x/{private(1)}", b"[", [], 400, "not a JSON array of objects"),
        (f"/c/x/{private(1)}", b"junk", ["Content-Encoding: zstd"], 400, "bad zstd"),
        (f"/c/x/{private(1)}", b"[]", ["Content-Encoding: br"], 415, "unknown content encoding"),
        (f"/c/x/{private(1)}", b"[" + b"{}," * 50_000 + b"{}]", [], 413, "too many lines"),
        (f"/c/x/{private(1)}", BOMB, ["Content-Encoding: zstd"], 413, "unfolds too far"),
        (f"/c/x/{private(1)}", entries("x" * 300_000), [], 413, "line too long"),
        (f"/c/x/{private(1)}", b" " * (limits.MAX_BODY + 1), [], 413, "body too large"),
    ],
)  # fmt: skip
async def test_a_bad_upload_is_refused_counted_and_comes_back_late(
    tmp_path: Path, path: str, body: bytes, headers: list[str], status: int, reason: str
) -> None:
    async with running(tmp_path, **LOG_HOST) as server:
        answer = await ask(server, request(path, body, headers=headers))
        assert (answer.status, answer.body) == (status, reason + "\n")
        assert 200 <= int(answer.headers["retry-after"]) <= 300
        assert host_of(server).refused == {reason: 1}
        assert list((tmp_path / "logs").iterdir()) == []


async def test_a_body_in_chunks_without_end_is_cut_off(tmp_path: Path) -> None:
    async with running(tmp_path, **LOG_HOST) as server:
        chunk = b"40000\r\n" + b" " * 0x40000 + b"\r\n"
        head = f"POST /c/x/{private(1)} HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        answer = await ask(server, head + chunk * 5)
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert host_of(server)._unfinished == {}


async def test_a_slow_body_is_given_up_and_so_is_one_that_breaks_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_TIMEOUT", 0.05)
    async with running(tmp_path, **LOG_HOST) as server:
        slow = request(f"/c/x/{private(1)}", entries("x" * 100))[:-10]
        assert (await ask(server, slow)).status == 408
        monkeypatch.setattr(limits, "BODY_TIMEOUT", PATIENCE)
        _, writer = await asyncio.open_connection("127.0.0.1", server.plain_ports()[0])
        writer.write(slow)
        await until(lambda: bool(host_of(server)._unfinished))
        writer.close()
        await until(lambda: host_of(server).refused["body cut short"] == 1)
        assert host_of(server)._unfinished == {}


async def test_unfinished_bodies_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UNFINISHED_PER_SOURCE", 1000)
    async with running(tmp_path, **LOG_HOST) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.plain_ports()[0])
        writer.write(request(f"/c/x/{private(1)}", entries("x" * 900))[:-1])
        await until(lambda: bool(host_of(server)._unfinished))
        answer = await upload(server, 2, "x" * 900)
        assert (answer.status, answer.body) == (503, "too many bodies at once\n")
        assert 30 <= int(answer.headers["retry-after"]) <= 60
        writer.close()
        await until(lambda: not host_of(server)._unfinished)
        assert (await upload(server, 2, "x" * 900)).status == 200


async def test_a_source_that_floods_is_told_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BURST", 3.5)
    monkeypatch.setattr(limits, "RATE", 0.001)
    async with running(tmp_path, **LOG_HOST) as server:
        answers = [await upload(server, number, "x") for number in range(5)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
        assert 30 <= int(answers[-1].headers["retry-after"]) <= 60


async def test_a_busy_client_is_slowed_by_its_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PACE_BURST", 2.0)
    monkeypatch.setattr(limits, "MAX_PAUSE", 0.05)
    async with running(tmp_path, **LOG_HOST) as server:
        loop = asyncio.get_running_loop()
        took = []
        for _ in range(3):
            began = loop.time()
            assert (await upload(server, 1, "x")).status == 200
            took.append(loop.time() - began)
        assert took[2] >= 0.05


async def test_files_are_ours_alone(tmp_path: Path) -> None:
    os.umask(0)
    try:
        async with running(tmp_path, **LOG_HOST) as server:
            await upload(server, 1, "one")
            (directory,) = (tmp_path / "logs").iterdir()
            (file,) = directory.iterdir()
            assert directory.name == public(1)
            assert private(1) not in str(file)
            modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "logs", directory, file)]
            assert modes == [0o700, 0o700, 0o600]
            assert private(1).encode() not in file.read_bytes()
    finally:
        os.umask(0o022)


async def test_a_restart_keeps_what_was_there_and_a_torn_end_hides_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, **LOG_HOST) as server:
        await upload(server, 1, "one")
        await upload(server, 1, "two")
    (file,) = (tmp_path / "logs" / public(1)).iterdir()
    data = file.read_bytes()
    file.write_bytes(data[:-5])
    (tmp_path / "logs" / "stranger").mkdir()
    (tmp_path / "logs" / public(1) / "junk.zst").write_bytes(b"")
    async with running(tmp_path, **LOG_HOST) as server:
        await upload(server, 1, "three")
        assert await texts(server) == ["one", "three"]
        assert len(list((tmp_path / "logs" / public(1)).glob("[0-9]*.zst"))) == 2


async def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    async with running(tmp_path / "s", **LOG_HOST) as server:
        await upload(server, 1, "one")
        (file,) = (tmp_path / "s/logs" / public(1)).iterdir()
        file.unlink()
        file.symlink_to(target)
        assert (await upload(server, 1, "two")).status == 503
    assert target.read_text() == "precious"


async def test_what_is_too_old_goes_though_nobody_writes(tmp_path: Path) -> None:
    async with running(tmp_path, **LOG_HOST) as server:
        await upload(server, 1, "one")
        host_of(server)._files.clean(WallTime(4e9))
        assert await texts(server) == []
        assert list((tmp_path / "logs").iterdir()) == []


async def test_lines_of_all_clients_come_in_order_and_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGE_SIZE", 300)
    monkeypatch.setattr(limits, "MARK_EVERY", 200)
    async with running(tmp_path, **LOG_HOST) as server:
        for number in range(30):
            await upload(server, number % 3, str(number))
        read: list[str] = []
        after = 0
        while frames := await host_of(server).page(after, None, 0.0):
            assert len(frames) <= 3
            read += [line.text for frame in frames for line in frame.lines]
            after = frames[-1].stamp
        assert read == [str(number) for number in range(30)]


async def test_a_follower_hears_of_lines_as_they_come_and_there_are_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_FOLLOWERS", 1)
    async with running(tmp_path, **LOG_HOST) as server:
        host = host_of(server)
        waiting = asyncio.create_task(host.page(0, [public(1)], PATIENCE))
        await until(lambda: host._followers == 1)
        with pytest.raises(TooManyFollowers):
            await host.page(0, None, PATIENCE)
        await upload(server, 2, "another's")
        await upload(server, 1, "mine")
        async with asyncio.timeout(PATIENCE):
            (frame,) = await waiting
        assert [line.text for line in frame.lines] == ["mine"]
        assert await host.page(frame.stamp, None, 0.01) == []


async def test_two_nodes_that_claim_one_id_are_both_shown(tmp_path: Path) -> None:
    async with running(tmp_path, **LOG_HOST) as server, Client(server, "a") as a, Client(server, "b") as b:
        for client in (a, b):
            await client.register(await auth_key(server))
            await client.lite(Hostinfo=client.hostinfo(BackendLogID=public(1)))
        await upload(server, 1, "whose?")
        _, read = log_verbs(server.log_host)["logs.read"]
        (line,) = (await read(server.admin, ReadLogs(node="a"), "test"))["lines"]
        assert line["nodes"] == ["a", "b"]


@pytest.mark.parametrize(
    ("hostinfo", "quiet"),
    [({"BackendLogID": public(1)}, False), ({"BackendLogID": public(2)}, True), ({}, True)],
)
async def test_only_who_uploads_here_is_not_silenced(tmp_path: Path, hostinfo: dict[str, str], quiet: bool) -> None:
    async with running(tmp_path, **LOG_HOST) as server, Client(server) as client:
        await upload(server, 1, "before the login")
        await client.register(await auth_key(server))
        first = await (await client.stream(Hostinfo=client.hostinfo(**hostinfo))).frame()
        assert first.get("Debug") == ({"DisableLogTail": True} if quiet else None)


async def test_without_a_log_host_everybody_is_silenced(tmp_path: Path) -> None:
    async with running(tmp_path) as server, Client(server) as client:
        await client.register(await auth_key(server))
        first = await (await client.stream(Hostinfo=client.hostinfo(BackendLogID=public(1)))).frame()
        assert first["Debug"] == {"DisableLogTail": True}


async def test_peers_are_not_told_the_log_id(tmp_path: Path) -> None:
    async with running(tmp_path, **LOG_HOST) as server, Client(server, "a") as a, Client(server, "b") as b:
        await a.register(await auth_key(server))
        await a.lite(Hostinfo=a.hostinfo(BackendLogID=public(1)))
        await b.register(await auth_key(server))
        first = await (await b.stream()).frame()
        assert public(1) not in str(first)


async def test_a_place_that_cannot_hold_logs_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    with pytest.raises(StartError, match=r"cannot keep logs in .*/logs: .*; make it usable, or empty"):
        async with running(tmp_path, **LOG_HOST):
            pass


# --- the disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root: a small file system is mounted here")
    place = tmp_path / "state" / "logs"
    place.mkdir(parents=True, mode=0o700)
    (tmp_path / "state").chmod(0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", place], check=True)
    try:
        yield tmp_path / "state"
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.root
async def test_a_full_disk_stops_logs_alone_and_clients_come_back_late(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MIN_FREE", 0)
    async with running(small_disk, **LOG_HOST) as server:
        noise = os.urandom(60_000).hex()
        answers = [await upload(server, number, *(noise[i::8] for i in range(8))) for number in range(6)]
        assert [answer.status for answer in answers] == [200, 200, 200, 200, 503, 503]
        assert 200 <= int(answers[-1].headers["retry-after"]) <= 300
        assert host_of(server).refused == {"no room on the disk": 2}
        assert sorted(p.name for p in (small_disk / "logs").iterdir()) == sorted(public(number) for number in range(4))
        assert await auth_key(server)
        assert len(await texts(server)) == 32
        assert (await upload(server, 7, "small")).status == 200


@pytest.mark.root
async def test_logs_leave_room_for_everything_else(small_disk: Path) -> None:
    async with running(small_disk, **LOG_HOST) as server:
        assert (await upload(server, 1, "one")).status == 503
        assert host_of(server).problem.startswith(f"less than {limits.MIN_FREE >> 20} MiB are free in ")


def test_half_a_frame_is_taken_back(tmp_path: Path) -> None:
    """Where the kernel takes a part of it: a limit on file sizes does the same as a full disk, byte by byte."""
    program = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from ginnel.core.logs.shelf import Space\n"
        "from ginnel.core.logs.upload import Line\n"
        "from ginnel.shell.control.logsink_store import LogFiles, NoRoom\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "files = LogFiles(Path(sys.argv[1]), Space(1e6, 1 << 30, 1 << 30), lambda: set())\n"
        "files.open(1.0)\n"
        "files.append('a' * 64, [Line(text='kept')], 1.0)\n"
        "(file,) = Path(sys.argv[1]).glob('*/*.zst')\n"
        "size = file.stat().st_size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    files.append('a' * 64, [Line(text='lost')], 1.0)\n"
        "except NoRoom:\n"
        "    assert file.stat().st_size == size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "files.append('a' * 64, [Line(text='later')], 1.0)\n"
        "print([line.text for _, _, lines in files.read(0, None) for line in lines])\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "logs"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("['kept', 'later']\n", "")
