"""The coordinator by itself, with clocks that are set: expiry, ephemeral nodes, the relay's members, the database."""

import asyncio
import dataclasses
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ginnel.core.control import limits
from ginnel.core.control.login import Caller
from ginnel.core.control.mapper import Surroundings
from ginnel.core.control.records import Node, Row, Spend, User
from ginnel.shell.control.coordinator import Coordinator
from ginnel.shell.control.coordinator_doors import Settings
from ginnel.shell.control.logins import Failure
from ginnel.shell.control.store import Store, StoreUnavailable
from ginnel.wire.tailcfg import MapRequest, RegisterAuth, RegisterRequest
from ginnel.words import Instant, NodeKey, WallTime
from tests.core.control.control_world import LOGOUT, machine, node_key
from tests.shell.control.control_client import until

SURROUNDINGS = Surroundings("mesh.internal", "vpn.example.com", b"{}", b"{}")


class Members(set[NodeKey]):
    """A relay that knows whom to let in."""

    add_member = set.add
    remove_member = set.discard


class Nobody:
    def write(self, data: bytes) -> None: ...
    def finish(self) -> None: ...


class Clocked(Coordinator):
    elapsed = 0.0
    jump = 0.0

    def now(self) -> Instant:
        return Instant(1000.0 + self.elapsed)

    def wall(self) -> WallTime:
        return WallTime(1_800_000_000.0 + self.elapsed + self.jump)

    async def later(self, seconds: float) -> None:
        self.elapsed += seconds
        await self._tick()

    async def key(self, **options: bool) -> str:
        def decide(wall: WallTime) -> tuple[str, list[Row]]:
            users = self.registry.users.values()
            user, rows = (next(iter(users)), []) if users else self.registry.create_user("alice", wall)
            text, _, made = self.registry.create_key(user, entropy(), wall, expiry=None, **options)
            return text, [*rows, *made]

        return await self.change(decide)

    async def join(self, name: str, *, on: str = "", **options: bool) -> Node:
        key, old = await self.key(**options), node_key(on) if on else None
        request = RegisterRequest(130, node_key(name), old_node_key=old, auth=RegisterAuth(key))
        answer = await self.logins.register(request, Caller(machine(on or name), "192.0.2.1"))
        assert not isinstance(answer, Failure)
        assert not answer.error
        node = self.registry.node_of(node_key(name), machine(on or name))
        assert node is not None
        return node


def entropy() -> bytes:
    entropy.drawn += 1  # type: ignore[attr-defined]
    return int(entropy.drawn).to_bytes(6, "big") + bytes(20)  # type: ignore[attr-defined]


entropy.drawn = 0  # type: ignore[attr-defined]


@contextmanager
def coordinator(path: Path, **settings: float) -> Iterator[tuple[Clocked, Members]]:
    store, members = Store(path / "ginnel.db"), Members()
    try:
        made = Clocked(Settings("https://vpn.example.com", SURROUNDINGS, **settings), store, members)
        made.load()
        yield made, members
    finally:
        store.close()


async def test_a_key_runs_out_and_a_clock_that_is_set_right_brings_it_back(tmp_path: Path) -> None:
    with coordinator(tmp_path, key_lifetime=600.0) as (server, members):
        node, other = await server.join("a"), await server.join("b")
        for jump, here in ((0.0, True), (3600.0, False), (-3600.0, True), (0.0, True)):
            server.jump = jump
            await server.later(1)
            assert (node.key in members, server.admits(node.key)) == (here, here)
            assert (server.mapper.access.sees(node.id, other.id)) == here
        await server.later(600)
        assert members == set()


async def test_members_follow_rotation_logout_and_deletion(tmp_path: Path) -> None:
    with coordinator(tmp_path) as (server, members):
        first = await server.join("a")
        second = await server.join("a2", on="a")
        assert members == {second.key}
        request = RegisterRequest(130, second.key, expiry=LOGOUT)
        await server.logins.register(request, Caller(machine("a"), "192.0.2.1"))
        assert members == set()
        assert first.id == second.id
        third = await server.join("b")
        await server.change(lambda wall: (None, server.registry.delete_node(third, wall)))
        assert members == set()


async def test_an_ephemeral_node_is_deleted_when_it_was_gone_for_long_and_not_before(tmp_path: Path) -> None:
    with coordinator(tmp_path) as (server, _):
        job, laptop = await server.join("job", ephemeral=True), await server.join("laptop")
        stream = server.open_stream(job, compress="", sink=Nobody())
        await server.later(limits.EPHEMERAL_GRACE + 1)
        assert job.id in server.registry.nodes
        server.close_stream(stream)
        await server.later(limits.EPHEMERAL_GRACE - 1)
        assert job.id in server.registry.nodes
        await server.later(2)
        assert set(server.registry.nodes) == {laptop.id}


async def test_an_ephemeral_node_that_comes_back_while_its_deletion_waits_for_its_turn_stays(tmp_path: Path) -> None:
    with coordinator(tmp_path) as (server, _):
        job, gate = await server.join("job", ephemeral=True), asyncio.Event()
        earlier = asyncio.create_task(server.turns.take(gate.wait()))
        await until(server.turns.taken)
        deletion = asyncio.create_task(server.later(limits.EPHEMERAL_GRACE + 1))
        await until(lambda: len(server.turns._tasks) == 2)
        server.open_stream(job, compress="", sink=Nobody())
        gate.set()
        await asyncio.gather(earlier, deletion)
        assert job.id in server.registry.nodes


async def test_what_could_not_be_written_behind_is_written_later(tmp_path: Path) -> None:
    with coordinator(tmp_path) as (server, _):
        node = await server.join("a")
        blocker = sqlite3.connect(tmp_path / "ginnel.db", isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        server.update(node, MapRequest(130, endpoints=["192.0.2.9:41641"]))
        await server.later(1)
        blocker.rollback()
        blocker.close()
        await server.later(1)
    with coordinator(tmp_path) as (again, _):
        assert again.registry.status[node.id].endpoints == ("192.0.2.9:41641",)


async def test_a_number_is_not_given_twice_over_a_restart(tmp_path: Path) -> None:
    with coordinator(tmp_path) as (server, _):
        await server.join("a")
        gone = await server.join("b")
        await server.change(lambda wall: (None, server.registry.delete_node(gone, wall)))
    with coordinator(tmp_path) as (again, _):
        node = await again.join("c")
        assert (node.id, node.ipv4) == (gone.id + 1, "100.64.0.3")


async def test_the_database_itself_refuses_to_spend_a_key_twice(tmp_path: Path) -> None:
    with coordinator(tmp_path) as (server, _):
        await server.key()
        renamed = dataclasses.replace(server.registry.user_named("alice"), name="x")
        await server.store.commit([Spend(1, WallTime(1.0))])
        with pytest.raises(StoreUnavailable, match="used or revoked"):
            await server.store.commit([renamed, Spend(1, WallTime(2.0))])
        assert [row.name for row in server.store.load().rows if isinstance(row, User)] == ["alice"]


@pytest.mark.parametrize(("members", "status"), [({"compress": "gzip"}, 400), ({"version": 112}, 400), ({}, 404)])
def test_a_map_request_that_cannot_be_served_is_no_empty_success(
    tmp_path: Path, members: dict[str, object], status: int
) -> None:
    with coordinator(tmp_path) as (server, _):
        request = MapRequest(**{"version": 130, "node_key": node_key("a"), **members})  # type: ignore[arg-type]
        found = server.node_for_map(request, machine("a"))
        assert isinstance(found, Failure)
        assert found.status == status
