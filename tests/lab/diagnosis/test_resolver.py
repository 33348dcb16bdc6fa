import socket

import pytest

from ginnel.lab.diagnosis.resolver import Resolver
from ginnel.lab.namespace import Inside, bound

NAME = "control.example"
TABLE = {NAME: ("203.0.113.10", "2001:db8::10")}


def query(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x12\x34\x01\x00\0\1\0\0\0\0\0\0" + labels + b"\0" + kind.to_bytes(2, "big") + b"\0\1"


@pytest.fixture
def resolver(monkeypatch):
    """Its answers, without its socket's port 53."""
    monkeypatch.setattr(Inside, "socket", lambda *_: bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)))
    made = Resolver(Inside("here", lambda: None), "127.0.0.1", TABLE, liar="192.168.1.1")
    yield made
    made.socket.close()


def codes(answer: bytes) -> tuple[int, int]:
    """The response code, and how many records there are."""
    return answer[3] & 15, int.from_bytes(answer[6:8], "big")


@pytest.mark.parametrize(
    ("kind", "address"),
    [(1, socket.inet_aton("203.0.113.10")), (28, socket.inet_pton(socket.AF_INET6, "2001:db8::10"))],
)
def test_it_tells_the_address_of_the_family_that_was_asked_for(resolver, kind, address):
    answer = resolver.heard(query(NAME, kind))
    assert codes(answer) == (0, 1)
    assert answer.endswith(address)
    assert resolver.asked[NAME] == 1


def test_a_name_that_it_does_not_know_does_not_exist(resolver):
    assert codes(resolver.heard(query("nobody.example", 1))) == (3, 0)


@pytest.mark.parametrize(("mood", "code"), [("servfail", 2), ("nxdomain", 3)])
def test_it_refuses_in_its_mood(resolver, mood, code):
    resolver.mood = mood
    assert codes(resolver.heard(query(NAME, 1))) == (code, 0)


def test_it_can_be_silent_and_still_knows_who_was_asked_for(resolver):
    resolver.mood = "silent"
    assert resolver.heard(query(NAME, 1)) is None
    assert resolver.asked[NAME] == 1


@pytest.mark.parametrize("name", [NAME, "nobody.example"])
def test_it_can_lead_every_name_to_one_address(resolver, name):
    resolver.mood = "one-address"
    assert resolver.heard(query(name, 1)).endswith(socket.inet_aton("192.168.1.1"))


def test_it_can_lie_about_one_name(resolver):
    resolver.lies[NAME] = ("192.168.1.1",)
    assert resolver.heard(query(NAME, 1)).endswith(socket.inet_aton("192.168.1.1"))


def test_what_is_no_query_is_not_answered(resolver):
    assert resolver.heard(b"\0\1") is None
