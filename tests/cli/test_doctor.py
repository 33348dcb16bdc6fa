"""What a user of `ginnel doctor` gets to see, whatever the daemon does."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket

import pytest
from click.testing import CliRunner, Result

from ginnel.cli import local
from ginnel.cli.doctor import doctor
from ginnel.shell.doctor import visit

Talk = Callable[[socket], None]


@contextmanager
def daemon(tmp_path: Path, talk: Talk) -> Iterator[str]:
    """Something on the daemon's socket; each connection is `talk`'s."""
    path = str(tmp_path / "d.sock")
    with socket(AF_UNIX, SOCK_STREAM) as listening:
        listening.bind(path)
        listening.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield path
        listening.shutdown(2)
        thread.join(10)


def examined(path: str, *words: str) -> Result:
    return CliRunner().invoke(doctor, ["--socket", path, "--state", "/nonexistent", "--json", *words])


def closes(connection: socket) -> None:
    connection.recv(4096)


def refuses(connection: socket) -> None:
    if connection.recv(4096):
        body = b'{"error": "this daemon says no"}'
        connection.sendall(b"HTTP/1.1 400 no\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


def is_silent(connection: socket) -> None:
    while connection.recv(4096):
        continue


def test_json_is_printed_where_no_daemon_is(tmp_path: Path) -> None:
    done = examined(str(tmp_path / "nobody"))
    said = json.loads(done.stdout)
    assert (done.exit_code, said["verdict"], said["causes"][0]["cause"]) == (1, "broken", "daemon-down")


@pytest.mark.parametrize("talk", [closes, is_silent])
def test_json_is_printed_where_the_daemon_goes_away_or_hangs(
    tmp_path: Path, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visit, "KNOWN_TIME", 0.2)
    with daemon(tmp_path, talk) as path:
        done = examined(path, "bob")
    said = json.loads(done.stdout)
    assert (done.exit_code, said["verdict"], said["causes"][0]["cause"]) == (1, "broken", "daemon-down")


def test_json_is_printed_where_the_daemon_refuses_and_the_reason_stands_in_it(tmp_path: Path) -> None:
    with daemon(tmp_path, refuses) as path:
        done = examined(path)
    assert json.loads(done.stdout) == {"verdict": "unknown", "causes": [], "error": "this daemon says no"}
    assert (done.exit_code, done.stderr) == (1, "this daemon says no\n")


def test_a_fault_of_our_own_is_no_reason_for_no_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def examine(*_: object) -> None:
        raise RuntimeError("descriptor 7 is in use")

    monkeypatch.setattr(visit.Visit, "examine", examine)
    done = examined(str(tmp_path / "nobody"))
    said = json.loads(done.stdout)
    assert (done.exit_code, said["verdict"], said["causes"]) == (1, "unknown", [])
    assert "descriptor 7 is in use" in said["error"]


class Forbidden(socket):
    """As the kernel treats an ordinary user at root's socket; tests may run as root."""

    def connect(self, address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    def connect_ex(self, address: object) -> int:
        return errno.EACCES


def test_a_socket_of_somebody_else_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "socket", Forbidden)
    done = examined(str(tmp_path / "daemon"))
    assert "repeat the command with sudo" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize(
    ("words", "peer"), [((), None), (("bob",), "bob"), (("peer", "bob"), "bob"), (("peer",), "peer")]
)
def test_whom_a_user_asks_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], peer: str | None
) -> None:
    asked: list[str | None] = []

    async def examine(_: object, wanted: str | None) -> None:
        asked.append(wanted)
        raise visit.CannotLook("enough")

    monkeypatch.setattr(visit.Visit, "examine", examine)
    examined(str(tmp_path / "nobody"), *words)
    assert asked == [peer]


@pytest.mark.parametrize("words", [("",), ("bob", "carol"), ("peer", "bob", "carol")])
def test_more_or_less_than_one_name_is_an_error_of_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert examined(str(tmp_path / "nobody"), *words).exit_code == 2
