"""What lies on disk: damaged, half made, of another version, and what a stop leaves behind."""

import asyncio
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from ginnel.shell.control.admin import NodeName, OfUser
from ginnel.shell.control.beside import StartError
from ginnel.shell.control.keys import StateError, load_or_make_key, prepare_directory
from ginnel.shell.control.store import Store
from tests.shell.control.control_client import Client, auth_key, running, until


def edit(state: Path, statement: str) -> None:
    with sqlite3.connect(state / "ginnel.db", isolation_level=None) as database:
        database.execute(statement)
    database.close()


async def join(state: Path, *names: str) -> list[Client]:
    clients = []
    async with running(state) as server:
        for name in names:
            async with Client(server, name) as client:
                assert (await client.register(await auth_key(server)))["Error"] == ""
                await client.lite()
                clients.append(client)
    return clients


@pytest.mark.parametrize(
    "poison",
    [
        "UPDATE nodes SET key = 'nodekey:zz' WHERE id = 1",
        "UPDATE nodes SET machine = '' WHERE id = 1",
        "UPDATE nodes SET tags = '{' WHERE id = 1",
        "UPDATE nodes SET ipv4 = 'nonsense' WHERE id = 1",
        "UPDATE node_status SET hostinfo = '[]' WHERE id = 1",
        "UPDATE node_status SET disco = 'd:' WHERE id = 1",
        "UPDATE preauth_keys SET tags = '' WHERE id = 1",
        "UPDATE nodes SET expiry = 1e300 WHERE id = 1",
    ],
)
async def test_a_poisoned_row_costs_only_its_owner(
    tmp_path: Path, poison: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, b = await join(tmp_path, "a", "b")
    edit(tmp_path, poison)
    async with running(tmp_path) as server, Client(server, "a") as late:
        b.server = server
        await b.connect()
        assert (await (await b.stream()).frame())["Node"]["Name"] == "b.mesh.internal."
        assert (await late.register(await auth_key(server)))["Error"] == ""
        late_node = (await (await late.stream()).frame())["Node"]
        assert late_node["Addresses"][0] == "100.64.0.3/32"
        assert late_node["Name"] == "a-1.mesh.internal."
        await b.hang_up()
    assert len([record for record in caplog.records if "cannot be read" in record.message]) == ("1e300" not in poison)


async def test_a_policy_that_cannot_be_read_denies_all(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        await server.coordinator.set_policy('{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}', "test")
    a, _ = await join(tmp_path, "a", "b")
    for broken in ("'nonsense'", "x'ff00'"):
        edit(tmp_path, f"UPDATE policies SET text = {broken}")
        async with running(tmp_path) as server:
            a.server = server
            await a.connect()
            first = await (await a.stream()).frame()
            assert ("Peers" in first, first["PacketFilters"]) == (False, {"base": []})
            await a.hang_up()


def test_a_start_that_was_killed_while_it_made_its_key_leaves_nothing_to_repair(tmp_path: Path) -> None:
    path = tmp_path / "noise_private.key"
    path.with_name(path.name + ".new").write_text("privkey:")
    key = load_or_make_key(path)
    assert load_or_make_key(path) == key
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


async def test_an_older_program_does_not_touch_newer_tables(tmp_path: Path) -> None:
    await join(tmp_path, "a")
    edit(tmp_path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StartError, match="a newer ginnel wrote it"):
        async with running(tmp_path):
            pass


def test_a_directory_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    prepare_directory(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)
    with pytest.raises(StateError, match="belongs to another user"):
        prepare_directory(theirs)


@pytest.mark.parametrize("name", ["lock", "ginnel.db", "noise_private.key"])
async def test_a_directory_in_the_place_of_a_file_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(StartError) as refused:
        async with running(tmp_path):
            pass
    assert "\n" not in str(refused.value)


async def test_a_database_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "ginnel.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StartError, match="cannot open the database"):
        async with running(tmp_path):
            pass


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """1 would be NORMAL: what was acknowledged would be lost with the power."""
    store = Store(tmp_path / "x.db")
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    store.close()


async def test_a_deleted_node_leaves_no_status_behind(tmp_path: Path) -> None:
    async with running(tmp_path) as server, Client(server) as client:
        await client.register(await auth_key(server))
        await client.lite(Endpoints=["192.0.2.1:1"])
        deletion = asyncio.create_task(server.admin.nodes_delete(NodeName("1"), "test"))
        await until(server.coordinator.turns.taken)
        await server.coordinator._tick()
        await deletion
    with sqlite3.connect(tmp_path / "ginnel.db") as database:
        assert database.execute("SELECT count(*) FROM node_status").fetchone() == (0,)
    database.close()


async def test_who_was_here_when_the_server_stopped_was_last_seen_then(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        client = Client(server)
        await client.connect()
        await client.register(await auth_key(server))
        await (await client.stream()).frame()
    await client.hang_up()
    async with running(tmp_path) as server:
        (node,) = await server.admin.nodes_list(OfUser(), "test")
        assert (node["online"], bool(node["last_seen"])) == (False, True)
