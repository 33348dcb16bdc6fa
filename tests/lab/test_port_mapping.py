"""Whole daemons behind hard NATs that map ports: what is advertised, what the commands say, and what remains after."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ginnel.lab.instance import Lab
from ginnel.lab.kinds import network
from ginnel.lab.members import GinnelNode, Server, answer, ginnel
from ginnel.lab.processes import until

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("leaves_nothing")]
LIMIT = 20.0
WORDS = {"nat-pmp": "NAT-PMP", "pcp": "PCP", "upnp": "UPnP"}


class Home:
    def __init__(self, lab: Lab, alice: GinnelNode) -> None:
        self.lab, self.alice = lab, alice
        self.outside = lab.addresses["nat-alice"]

    def ask(self, *words: str) -> str:
        return answer(ginnel(self.lab, "alice", words[0], *words), LIMIT)

    def endpoints(self) -> list[str]:
        status: dict[str, Any] = self.alice.status() or {}
        return (status.get("Self") or {}).get("Addrs") or []

    def mapping(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("debug", "portmap", "--json"))
        return found

    def forwarded(self) -> bool:
        return "dnat" in self.lab.spaces["nat-alice"].run(["nft", "list", "table", "inet", "miniupnpd"])


@contextmanager
def home(kind: str) -> Iterator[Home]:
    with Lab(network(alice=kind)) as lab:
        server = Server(lab)
        server.start()
        alice = GinnelNode(lab, "alice")
        alice.start()
        alice.up(server.invite)
        yield Home(lab, alice)


@pytest.mark.parametrize("kind", WORDS)
def test_a_mapped_port_is_advertised_first_and_given_back_when_it_is_switched_off(kind: str) -> None:
    with home(kind) as here:
        found = here.mapping()
        assert (found["Protocol"], found["Advertised"], found["LifetimeSeconds"]) == (WORDS[kind], True, 7200)
        assert found["External"].startswith(f"{here.outside}:")
        until(lambda: here.endpoints()[:1] == [found["External"]], LIMIT, "the mapped endpoint to be advertised")
        assert f"by {WORDS[kind]}\n" in here.ask("debug", "portmap")
        assert f"* PortMapping: {WORDS[kind]}\n" in here.ask("netcheck")
        here.ask("up", "--no-port-mapping")
        until(lambda: found["External"] not in here.endpoints(), LIMIT, "the mapped endpoint to be withdrawn")
        until(lambda: not here.forwarded(), LIMIT, "the router to be asked to forget")
        here.ask("up", "--port-mapping")
        until(here.forwarded, LIMIT, "the port to be mapped again")
        here.ask("down")
        until(lambda: not here.forwarded(), LIMIT, "the port to be given back by `down`")
