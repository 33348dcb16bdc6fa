"""The daemon's port mapping against miniupnpd on a hard NAT, one protocol at a time, in real namespaces. The loop's
clock can jump, so that an hour passes at once."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from ginnel.core.node.portmap.actions import Gateway, PortMapped
from ginnel.core.node.portmap.constants import CHECK_UPNP_IDLE, LIFETIME
from ginnel.core.node.portmap.mapper import PortMapper
from ginnel.core.node.portmap.states import Held, Resting
from ginnel.core.node.routing import MARK
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import SERVER, network
from ginnel.lab.namespace import enter_network
from ginnel.shell.node.gateway import read_gateway
from ginnel.shell.node.portmap import OPEN_AGAIN, PortMapping, Wish
from ginnel.words import Endpoint

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
EACH = pytest.mark.parametrize("kind", ["nat-pmp", "pcp", "upnp"])
PORT = 41641
LOOK, LOOKS = 0.05, 400
SILENCE = {Resting: 10.0, Held: 0.1}


class Jumping(asyncio.SelectorEventLoop):
    """A loop whose clock a test may move on."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def jump(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Jumping)
    loop.ahead += seconds


class Home:
    """A machine behind a router, from its inside."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.router = lab.spaces["nat-alice"]
        self.tasks: set[asyncio.Task[None]] = set()
        self.told = asyncio.Event()
        self.news: list[PortMapped] = []
        self.mapping = PortMapping(PortMapper(os.urandom, b"secret"), mark=MARK, tell=self.tell, spawn=self.spawn)

    def tell(self, news: PortMapped) -> None:
        self.news.append(news)
        self.told.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def start(self) -> None:
        gateway = read_gateway("ginnel0")
        assert gateway is not None
        self.mapping.follow(Wish(gateway, PORT), active=False)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Pauses between rounds are jumped over, and silence after a question; work under way gets its time."""
        for _ in range(LOOKS):
            if reached():
                return
            self.told.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self.told.wait()
            jump(SILENCE.get(type(self.mapping.mapper.state), 0.0))
        raise AssertionError(f"it did not come about: {self.mapping.mapper.problem}")

    async def mapped(self) -> Endpoint:
        await self.until(lambda: bool(self.news and self.news[-1].external))
        found = self.news[-1].external
        assert found is not None
        return found

    @property
    def held(self) -> Held:
        assert isinstance(self.mapping.mapper.state, Held)
        return self.mapping.mapper.state

    def rules(self) -> str:
        return self.router.run(["nft", "list", "table", "inet", "miniupnpd"])

    def knocks(self, at: Endpoint) -> bool:
        """Whether a packet of a stranger outside comes in by that endpoint to our port."""
        with (
            self.lab.spaces["alice"].socket(socket.SOCK_DGRAM, ("0.0.0.0", PORT)) as inside,
            self.lab.spaces[SERVER].socket(socket.SOCK_DGRAM, ("0.0.0.0", 0)) as stranger,
        ):
            inside.settimeout(0.5)
            stranger.sendto(b"knock", (str(at.ip), at.port))
            try:
                return inside.recv(100) == b"knock"
            except TimeoutError:
                return False


async def told_at_home(lab: Lab, story: Callable[[Home], Awaitable[None]]) -> None:
    home = Home(lab)
    try:
        home.start()
        await story(home)
    finally:
        await home.mapping.close()
        for task in home.tasks:
            task.cancel()
        await asyncio.gather(*home.tasks, return_exceptions=True)


def inside(kind: str, story: Callable[[Home], Awaitable[None]]) -> None:
    """Tell the story in the namespace of the machine, in a thread apart: the lab's own are asked things meanwhile."""

    def run(lab: Lab) -> None:
        enter_network(f"{lab.name}-alice")
        with asyncio.Runner(loop_factory=Jumping) as runner:
            runner.run(told_at_home(lab, story))

    with Lab(network(alice=kind)) as lab, ThreadPoolExecutor(1) as thread:
        thread.submit(run, lab).result()


@EACH
def test_a_stranger_comes_in_by_the_mapped_port_through_a_hard_nat(kind: str) -> None:
    async def story(home: Home) -> None:
        external = await home.mapped()
        assert str(external.ip) == home.lab.addresses["nat-alice"]
        assert home.knocks(external)
        assert not home.knocks(Endpoint(external.ip, external.port - 1))
        await home.mapping.looked()
        await home.until(lambda: home.news[-1].upnp is not None)
        seen = home.news[-1]
        assert (seen.pmp, seen.pcp, seen.upnp) == (kind == "nat-pmp", kind == "pcp", kind == "upnp")

    inside(kind, story)


@EACH
def test_whoever_waited_for_a_look_finds_its_news_told(kind: str) -> None:
    async def story(home: Home) -> None:
        for _ in range(LOOKS):  # a look ends at its limit, too, and a busy router may need more
            await home.mapping.looked()
            if isinstance(home.mapping.mapper.state, Held):
                break
        assert home.news[-1].external == home.held.external

    for _ in range(3):
        inside(kind, story)


@EACH
def test_a_mapping_is_renewed_after_half_its_life(kind: str) -> None:
    async def story(home: Home) -> None:
        external = await home.mapped()
        granted_at = home.held.granted_at
        jump(LIFETIME / 2 + 1)
        await home.until(lambda: home.held.granted_at > granted_at)
        assert home.mapping.news.external == external
        assert home.knocks(external)

    inside(kind, story)


@EACH
def test_a_router_that_restarted_maps_again(kind: str) -> None:
    async def story(home: Home) -> None:
        before = await home.mapped()
        await home.until(lambda: home.mapping.mapper.settled)
        home.lab.reset_nats()
        assert "dnat" not in home.rules()
        jump(CHECK_UPNP_IDLE)
        await home.until(lambda: "dnat" in home.rules() and home.mapping.news.external is not None)
        after = home.mapping.news.external
        assert after is not None
        assert (after, home.knocks(after)) == (before, True)

    inside(kind, story)


@EACH
def test_the_endpoint_goes_when_the_router_vanishes_and_returns_with_it(kind: str) -> None:
    async def story(home: Home) -> None:
        await home.mapped()
        await home.until(lambda: home.mapping.mapper.settled)
        home.lab.mappers["nat-alice"].kill()
        jump(CHECK_UPNP_IDLE)
        await home.until(lambda: home.news[-1].external is None)
        home.lab.start_mappers()
        assert home.knocks(await home.mapped())

    inside(kind, story)


@EACH
def test_closing_gives_the_port_back(kind: str) -> None:
    async def story(home: Home) -> None:
        await home.mapped()
        assert "dnat" in home.rules()
        await home.mapping.close()
        await home.until(lambda: "dnat" not in home.rules())

    inside(kind, story)


def test_a_plain_home_router_costs_its_probes_and_nothing_is_told_but_that() -> None:
    async def story(home: Home) -> None:
        await home.mapping.probed()
        await home.until(lambda: bool(home.news))
        assert home.news == [PortMapped(None, upnp=False, pmp=False, pcp=False)]
        assert "neither" in home.mapping.mapper.problem

    inside("easy", story)


@EACH
def test_a_machine_that_leaves_for_another_network_gives_its_port_back_if_it_can(kind: str) -> None:
    async def story(home: Home) -> None:
        await home.mapped()
        home.mapping.follow(Wish(), active=False)
        await home.until(lambda: home.news[-1] == PortMapped())
        if kind != "upnp":  # by HTTP only to a router that is still ours
            await home.until(lambda: "dnat" not in home.rules())
        home.start()
        await home.mapped()

    inside(kind, story)


def test_an_address_that_is_not_there_yet_is_tried_again() -> None:
    async def story(home: Home) -> None:
        found = read_gateway("ginnel0")
        assert found is not None
        late = Gateway(found.interface, found.own + 100, found.address)
        home.mapping.follow(Wish(late, PORT), active=False)
        assert "cannot open a socket" in home.mapping.mapper.problem
        home.lab.spaces["alice"].run(["ip", "addr", "add", f"{late.own}/24", "dev", late.interface])
        jump(OPEN_AGAIN)
        await home.mapped()
        assert home.mapping.mapper.gateway == late

    inside("pcp", story)
