import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from ginnel.shell.speedtest import Direction, SpeedtestError, ask, serve_one, whole

SHORT = 0.05
LIMIT = 20.0


@pytest.fixture
def server():
    """Listens, and answers one client in a thread: the address, and what it tells at the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        listening.settimeout(LIMIT)
        yield listening.getsockname(), pool.submit(serve_one, listening)


@pytest.mark.parametrize("direction", Direction)
def test_both_ends_count_the_same_bytes_whichever_of_them_sends(server, direction):
    address, served = server
    total = whole(list(ask(address, direction, SHORT)))
    client, theirs = served.result(LIMIT)
    assert client == "127.0.0.1"
    assert total.bytes == theirs.bytes > 0
    assert total.bits_per_second == 8 * total.bytes / (total.end - total.start)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b'{"version":1,"time":5000000000,"direction":0}\n', b"it speaks version 1, this machine 2"),
        (b'{"version":2,"time":3600000000000,"direction":0}\n', b"it asks for 3600 s, at most 30 are allowed"),
        (b'{"version":2,"time":-1,"direction":0}\n', b"it asks for"),
        (b'{"version":2,"time":5000000000,"direction":7}\n', b"it does not speak"),
        (b"GET / HTTP/1.1\n", b"it does not speak"),
        (b"x" * 4096, b"it does not speak"),
    ],
)
def test_a_client_that_asks_for_nonsense_is_told_and_gets_no_data(server, said, answer):
    address, served = server
    with socket.create_connection(address, LIMIT) as client:
        client.sendall(said)
        told = client.makefile("rb").read()
    assert answer in told
    assert told.count(b"\n") == 1
    with pytest.raises(SpeedtestError, match=r"127\.0\.0\.1: it"):
        served.result(LIMIT)


def test_where_nothing_listens_the_command_for_the_other_end_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
    with pytest.raises(SpeedtestError, match="ginnel speedtest --server"):
        list(ask(address, Direction.DOWNLOAD, SHORT))


def test_what_does_not_speak_the_protocol_is_no_result():
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: list(ask(listening.getsockname(), Direction.DOWNLOAD, SHORT)))
        other, _ = listening.accept()
        with other:
            other.sendall(b"SSH-2.0-OpenSSH\r\n")
            with pytest.raises(SpeedtestError, match="does not speak the speed test's protocol"):
                asked.result(LIMIT)


def test_no_data_is_an_error_and_no_speed_of_zero():
    with pytest.raises(SpeedtestError):
        whole([])
