"""A real relay is asked where a host is."""

from ginnel.core.node.bootstrap import BootstrapRelay
from ginnel.core.relay.identity import SelfSigned, read_leaf
from ginnel.shell.node import ask_relay as asking
from ginnel.shell.node.ask_relay import ask_relay
from ginnel.words import Endpoint
from tests.shell.relays import ENTROPY, NOW, port, relays

PIN = read_leaf(SelfSigned.make("127.0.0.1", ENTROPY, NOW).certificate).pin


def relay_at(number: int, verify: str = PIN) -> BootstrapRelay:
    return BootstrapRelay("1a", "r.example", (Endpoint.parse(f"127.0.0.1:{number}"),), verify)


async def asked(answer: str, verify: str = PIN) -> list[str]:
    with relays() as serve:
        relay = serve()
        relay.set_bootstrap_dns(answer, {"hidden.example": '{"hidden.example": ["192.0.2.2"]}'})
        at = relay_at(port(relay), verify)
        return [str(ip) for name in ("c.example", "hidden.example") for ip in await ask_relay(at, name, mark=0)]


async def test_a_relay_with_the_pinned_certificate_tells_where_a_host_is() -> None:
    assert await asked('{"c.example": ["192.0.2.1"], "d.example": ["192.0.2.9"]}') == ["192.0.2.1", "192.0.2.2"]


async def test_one_with_another_certificate_is_not_heard() -> None:
    answer = '{"c.example": ["192.0.2.1"]}'
    assert await asked(answer, "sha256-raw:" + "00" * 32) == []
    assert await asked(answer, "name:r.example") == []


async def test_an_answer_that_cannot_be_read_or_is_too_long_is_none() -> None:
    assert await asked("<html>") == ["192.0.2.2"]
    assert await asked('{"c.example": ["192.0.2.1"], "d.example": [' + '"192.0.2.1",' * 10_000 + '""]}') == [
        "192.0.2.2"
    ]


async def test_a_relay_that_hangs_is_given_up(monkeypatch) -> None:
    import socket

    monkeypatch.setattr(asking, "ANSWER_TIME", 0.05)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert await ask_relay(relay_at(silent.getsockname()[1]), "c.example", mark=0) == ()
    assert await ask_relay(relay_at(1), "c.example", mark=0) == ()
