"""Addresses by the system's resolver."""

import asyncio
import socket
import threading
from ipaddress import ip_address

import pytest

from ginnel.core.relaydns.hosts import Lookup
from ginnel.shell.relaydns import resolve
from ginnel.shell.relaydns.resolve import Resolver, usable

PATIENCE = 20.0


def answering(**by_family):
    def get(host, family):
        found = by_family["v4" if family == socket.AF_INET else "v6"]
        if isinstance(found, Exception):
            raise found
        return found

    return Resolver(get)


def error(name):
    return socket.gaierror(getattr(socket, name), "for this test")


async def test_both_families_are_asked_for():
    found = await answering(v4=["192.0.2.2", "192.0.2.1", "192.0.2.1"], v6=["2001:db8::1"]).look_up("h")
    assert found == ((ip_address("192.0.2.1"), ip_address("192.0.2.2")), (ip_address("2001:db8::1"),))


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [
        (error("EAI_NONAME"), Lookup.NONE), (error("EAI_NODATA"), Lookup.NONE), (error("EAI_AGAIN"), Lookup.FAILED),
        (error("EAI_FAIL"), Lookup.FAILED), (OSError("x"), Lookup.FAILED),
        (UnicodeError("label too long"), Lookup.FAILED),
    ],
    ids=str,
)  # fmt: skip
async def test_a_name_without_addresses_is_told_from_a_resolver_that_fails(raised, outcome):
    assert await answering(v4=raised, v6=["2001:db8::1"]).look_up("h") == (outcome, (ip_address("2001:db8::1"),))


@pytest.mark.parametrize("texts", [["127.0.1.1"], ["::1", "fe80::1%eth0"], ["0.0.0.0"], ["224.0.0.1"], []])
def test_addresses_that_nobody_else_can_use_are_no_answer(texts):
    assert usable(texts) is Lookup.FAILED


async def test_a_resolver_that_hangs_is_left_and_hanging_threads_are_bounded(monkeypatch):
    monkeypatch.setattr(resolve, "PATIENCE", 0.1)
    let_go, started = threading.Event(), []

    def hang(host, family):
        started.append(host)
        let_go.wait(PATIENCE)
        return ["192.0.2.1"]

    resolver = Resolver(hang)
    async with asyncio.timeout(PATIENCE):
        assert set(await asyncio.gather(*(resolver.look_up("h") for _ in range(20)))) == {
            (Lookup.FAILED, Lookup.FAILED)
        }
        assert len(started) == resolve.AT_ONCE
        let_go.set()
        monkeypatch.setattr(resolve, "PATIENCE", PATIENCE)
        assert (await resolver.look_up("h"))[0] == (ip_address("192.0.2.1"),)


async def test_the_systems_resolver_is_asked_for_the_whole_name(monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words: asked.append(words) or [(2, 1, 6, "", ("192.0.2.1", 0))])
    await Resolver().look_up("r.example.net")
    assert {words[0] for words in asked} == {"r.example.net."}
