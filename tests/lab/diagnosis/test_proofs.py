import socket

import pytest

from ginnel.lab.diagnosis.proofs import connect, proof

HERE = "127.0.0.1"


def test_a_proof_holds_when_all_was_seen_that_must_be():
    assert proof(a=(True, True), b=("open", "open")).holds
    found = proof(a=(True, True), b=("silent", "open"), c=(0, 302))
    assert (found.holds, found.detail) == (False, "b is silent, not open; c is 0, not 302")


def test_a_port_that_listens_is_open_and_another_refuses():
    with socket.create_server((HERE, 0)) as listener:
        port = listener.getsockname()[1]
        assert connect(HERE, port) == "open"
    assert connect(HERE, port) == "refused"


@pytest.mark.parametrize(
    ("error", "word"), [(TimeoutError, "silent"), (ConnectionResetError, "reset"), (OSError, "unreachable")]
)
def test_what_became_of_a_connection_is_told_in_a_word(monkeypatch, error, word):
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(socket.socket, "connect", fails)
    assert connect(HERE, 1) == word
