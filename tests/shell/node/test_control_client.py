"""The control client against the real coordination server, on loopback, by plain HTTP."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ginnel.core.node.control_actions import Merge, Report
from ginnel.core.node.control_session import ControlSession
from ginnel.core.node.login import Accepted, Idle, KeepKey, Login, Refused, Visit, Waiting
from ginnel.shell.control.admin import Approve, CreateKey, NodeName
from ginnel.shell.control.config import DnsConfig, RelayConfig, ServerConfig
from ginnel.shell.control.run import ControlServer
from ginnel.shell.node.control_client import ControlClient
from ginnel.shell.node.host_finder import HostFinder
from ginnel.wire.tailcfg import MapResponse
from ginnel.words import DiscoPrivate, MachineKey, MachinePrivate, NodePrivate

GENEROUS = 20.0


@asynccontextmanager
async def serving(state: Path, port: int = 0) -> AsyncIterator[tuple[ControlServer, str]]:
    config = ServerConfig(
        state=str(state),
        url=f"http://127.0.0.1:{port}",
        listen_plain=(f"127.0.0.1:{port}",),
        relay=RelayConfig(enabled=False),
        dns=DnsConfig(base_domain="mesh.example"),
    )
    async with ControlServer(config) as server:
        yield server, f"http://127.0.0.1:{server.plain_ports()[0]}"


@pytest.fixture
async def server() -> AsyncIterator[tuple[ControlServer, str]]:
    short = Path(tempfile.mkdtemp(prefix="gn"))  # a unix socket's path may have 107 bytes
    try:
        async with serving(short) as running:
            yield running
    finally:
        shutil.rmtree(short)


class Member:
    """A control client and what it was told."""

    def __init__(self, url: str, *, stored: NodePrivate | None = None, pinned: MachineKey | None = None) -> None:
        self.machine = MachinePrivate(os.urandom(32))
        self.told: list = []
        self._moved = asyncio.Condition()
        self._url, self._pinned = url, pinned
        self.start(stored)

    def start(self, stored: NodePrivate | None, url: str = "") -> None:
        login = Login(
            stored,
            hostinfo={"Hostname": "a", "OS": "linux"},
            draw=lambda: os.urandom(32),
            jitter=lambda: 0.5,
            plain=True,
        )
        session = ControlSession(login, disco=DiscoPrivate(os.urandom(32)).public(), jitter=lambda: 0.5, plain=True)
        self.client = ControlClient(
            session, url=url or self._url, machine=self.machine, pinned=self._pinned, mark=0,
            finder=HostFinder(), tell=self.told.append,
            changed=self._changed,
        )  # fmt: skip

    def _changed(self) -> None:
        self._task = asyncio.ensure_future(self._notify())

    async def _notify(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    @property
    def session(self) -> ControlSession:
        return self.client.session

    def of(self, kind: type) -> list:
        return [action for action in self.told if isinstance(action, kind)]

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(GENEROUS), self._moved:
            await self._moved.wait_for(true)

    @asynccontextmanager
    async def running(self, **begin) -> AsyncIterator["Member"]:
        task = asyncio.create_task(self.client.run(lambda session: session.start(**begin)))
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait({task})


async def auth_key(server: ControlServer) -> str:
    created = await server.admin.preauthkeys_create(CreateKey(user="default", reusable=True), "test")
    return str(created["key"])


async def test_an_auth_key_logs_in_and_the_map_comes(server) -> None:
    control, url = server
    async with Member(url).running(auth_key=await auth_key(control)) as member:
        await member.until(lambda: member.of(Merge))
        assert isinstance(member.session.login.state, Accepted)
        frame = member.of(Merge)[0].frame
        assert frame.node.key == member.session.login.state.key.public()
        assert frame.node.addresses[0].startswith("100.")
        assert member.session.in_map_poll


async def test_a_wrong_auth_key_is_a_refusal_in_the_servers_words(server) -> None:
    async with Member(server[1]).running(auth_key="hskey-wrong") as member:
        await member.until(lambda: isinstance(member.session.login.state, Refused))
        assert "key" in member.session.login.problem


async def test_a_login_without_a_key_shows_an_address_and_ends_when_it_is_approved(server) -> None:
    control, url = server
    async with Member(url).running() as member:
        await member.until(lambda: member.of(Visit))
        waiting = await control.admin.auth_list(None, "test")
        await control.admin.auth_approve(Approve(waiting[0]["id"], "default"), "test")
        await member.until(lambda: member.of(Merge))


async def test_a_restart_with_the_stored_key_needs_no_auth_key(server) -> None:
    control, url = server
    member = Member(url)
    async with member.running(auth_key=await auth_key(control)):
        await member.until(lambda: member.of(Merge))
    stored = member.session.login.stored
    member.told.clear()
    member.start(stored)
    async with member.running():
        await member.until(lambda: member.of(Merge))
        assert member.of(KeepKey)[0].key == stored


async def test_an_expired_key_is_rotated_with_the_auth_key_and_the_node_stays_the_same(server) -> None:
    control, url = server
    key = await auth_key(control)
    member = Member(url)
    async with member.running(auth_key=key):
        await member.until(lambda: member.of(Merge))
        first = member.of(Merge)[0].frame.node
        await control.admin.nodes_expire(NodeName(str(first.id)), "test")
        await member.until(lambda: member.session.expired)
    member.told.clear()
    member.start(member.session.login.stored)
    async with member.running(auth_key=key):
        await member.until(lambda: member.of(Merge))
        again = member.of(Merge)[0].frame.node
        assert (again.id, again.addresses) == (first.id, first.addresses)
        assert again.key != first.key


async def test_logging_out_is_confirmed_by_the_server(server) -> None:
    control, url = server
    async with Member(url).running(auth_key=await auth_key(control)) as member:
        await member.until(lambda: member.of(Merge))
        await member.client.leave(lambda session: session.logout())
        assert isinstance(member.session.login.state, Idle)
        assert member.of(KeepKey)[-1].key is None


async def test_two_members_see_each_other_and_each_others_endpoints(server) -> None:
    control, url = server
    key = await auth_key(control)
    async with Member(url).running(auth_key=key) as a:
        await a.until(lambda: a.of(Merge))
        async with Member(url).running(auth_key=key) as b:
            await b.until(lambda: b.of(Merge))
            assert [peer.key for peer in b.of(Merge)[0].frame.peers] == [a.session.login.state.key.public()]
            b.client.report(Report({"Hostname": "b", "NetInfo": {"PreferredDERP": 9}}, ("192.0.2.7:41641",), (1,)))
            await a.until(lambda: "192.0.2.7:41641" in str(a.of(Merge)))


async def test_after_a_restart_of_the_server_the_map_comes_back_without_a_login() -> None:
    state = Path(tempfile.mkdtemp(prefix="gn"))
    try:
        async with serving(state) as (control, url):
            key = await auth_key(control)
            member = Member(url)
            running = member.running(auth_key=key)
            await running.__aenter__()
            await member.until(lambda: member.of(Merge))
        await member.until(lambda: not member.session.in_map_poll)
        member.told.clear()
        async with serving(state, port=int(url.rpartition(":")[2])):
            await member.until(lambda: member.of(Merge))
            assert member.of(KeepKey) == []
            await running.__aexit__(None, None, None)
    finally:
        shutil.rmtree(state)


async def test_a_server_with_another_key_than_the_invites_is_refused(server) -> None:
    other = MachinePrivate(os.urandom(32)).public()
    async with Member(server[1], pinned=other).running(auth_key="x") as member:
        await member.until(lambda: isinstance(member.session.login.state, Refused))
        assert "another key than the invite" in member.session.login.problem


async def test_a_server_whose_key_changed_is_asked_for_the_new_one(server) -> None:
    """No invite: TLS vouches for the key, and a server that was set up anew has another."""
    control, url = server
    member = Member(url)
    member.client._server_key = MachinePrivate(os.urandom(32)).public()
    async with member.running(auth_key=await auth_key(control)):
        await member.until(lambda: member.of(Merge))


async def test_a_client_that_was_stopped_takes_nothing_and_tells_nothing(server) -> None:
    control, url = server
    async with Member(url).running(auth_key=await auth_key(control)) as member:
        await member.until(lambda: member.of(Merge))
        member.client.stop()
        member.told.clear()
        member.client.input(lambda session: [Merge(MapResponse(), first=False)])
        assert member.told == []
        assert member.client._connection is not None
        assert member.client._connection.closed


async def test_a_connection_from_an_address_that_is_gone_is_made_anew_at_once(server) -> None:
    control, url = server
    async with Member(url).running(auth_key=await auth_key(control)) as member:
        await member.until(lambda: member.of(Merge))
        first = member.client._connection
        assert first is not None
        member.client.link_changed({"127.0.0.1", "::1"})
        assert not first.closed
        member.told.clear()
        member.client.link_changed({"192.0.2.7"})
        assert first.closed
        await member.until(lambda: member.of(Merge))
        assert member.client._connection is not first


async def test_a_server_that_is_down_is_told_and_tried_again() -> None:
    async with Member("http://127.0.0.1:1").running(auth_key="x") as member:
        await member.until(lambda: isinstance(member.session.login.state, Waiting))
        assert "cannot connect to 127.0.0.1:1" in member.session.problem
        assert member.session.next_timeout() is not None


@pytest.mark.parametrize("answer", [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b"\0" * 200, b""])
async def test_what_is_no_coordination_server_is_called_so(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with Member(f"http://127.0.0.1:{port}").running(auth_key="x") as member:
            await member.until(lambda: isinstance(member.session.login.state, Waiting))
            assert any(
                words in member.session.problem for words in ("no coordination server", "no HTTP answer", "closed")
            )
