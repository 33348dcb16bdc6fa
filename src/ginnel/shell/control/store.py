"""The database: read once at the start, written from then on by one thread.

Room: shell. Memory is served, the database is written. `commit` returns when the rows are on disk, so that nothing is
acknowledged before; when it fails, nothing of the transaction is there and the caller answers 5xx.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, RowMapping, Table, create_engine, delete, event, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError

from ginnel.core.control.fleet_records import DropRelay, FleetRegion, RelayRecord, RelayTokenRecord, SpendToken
from ginnel.core.control.records import (
    Audit,
    Drop,
    KeyBinding,
    Node,
    PolicyText,
    PreauthKey,
    Released,
    Row,
    Spend,
    Status,
    User,
)
from ginnel.shell.control import tables
from ginnel.shell.control.rows import FORMS

log = logging.getLogger("ginnel.control")
TAILNET = "default"
REVISIONS = (None, "0001", "0002")  # of the tables, oldest first
BUSY_TIMEOUT_MS = 2000
KINDS = (User, KeyBinding, Node, Status, PreauthKey, Released, FleetRegion, RelayRecord, RelayTokenRecord)


class StoreUnavailable(Exception):
    """The rows could not be written: locked, full, read-only or broken. One line."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """`withheld`: label and addresses of nodes that cannot be read; nobody else may be given them."""

    rows: list[Row]
    numbers: dict[str, int]
    withheld: list[tuple[str, str, str]]


class Store:
    """One tailnet in a SQLite file, 0600. Call `close` at the end; rows committed until then are safe."""

    def __init__(self, path: Path) -> None:
        """Make or open the file and bring its tables up to date. Raises StoreUnavailable."""
        _make_private(path)
        self._thread = ThreadPoolExecutor(1, "ginnel-store")
        self._engine = _engine(path)
        try:
            _migrate(self._engine)
        except (SQLAlchemyError, OSError) as error:
            self.close()
            raise StoreUnavailable(f"cannot open the database {path}: {_line(error)}") from None

    def load(self) -> Loaded:
        """Everything, in an order that can be applied. A row that cannot be read costs its owner alone (C17). Raises
        StoreUnavailable."""
        rows: list[Row] = []
        bad: list[RowMapping] = []
        try:
            with self._engine.connect() as connection:
                for kind in KINDS:
                    rows += _read_all(connection, kind, bad)
                policies = _read_all(connection, PolicyText, bad)
                rows += [max(policies, key=lambda policy: policy.version)] if policies else []
                numbers = connection.execute(select(tables.numbers).where(tables.numbers.c.tailnet == TAILNET))
                counted = {row.name: row.last for row in numbers}
        except SQLAlchemyError as error:
            raise StoreUnavailable(f"cannot read the database: {_line(error)}; restore it from a backup") from None
        withheld = [(row["label"], row["ipv4"], row["ipv6"]) for row in bad if "label" in row]
        return Loaded(rows, counted, withheld)

    async def commit(self, rows: Sequence[Row]) -> None:
        """One transaction. Raises StoreUnavailable; then none of the rows is written."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self.write, rows)

    def write(self, rows: Iterable[Row]) -> None:
        try:
            with self._engine.begin() as connection:
                for row in rows:
                    _write(connection, row)
        except (SQLAlchemyError, _SpentAlready) as error:
            raise StoreUnavailable(f"cannot write to the database: {_line(error)}") from None

    async def audit_trail(self, limit: int) -> list[Audit]:
        """The latest entries, newest first."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read_audit, limit)

    def _read_audit(self, limit: int) -> list[Audit]:
        query = select(tables.audit).order_by(tables.audit.c.id.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [FORMS[Audit].read(row) for row in connection.execute(query).mappings()]

    def close(self) -> None:
        self._thread.shutdown()
        self._engine.dispose()


class _SpentAlready(Exception):
    """A one-shot key was used or revoked by someone else in the meantime."""


def _make_private(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"cannot open the database {path}: {error.strerror}") from None


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        """FULL: without it a commit outlives the process and not a loss of power; it costs 0.4 ms of 1.6."""
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_TIMEOUT_MS}"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _migrate(engine: Engine) -> None:
    """Alembic is imported only when there is something to do: it is slow to load and large."""
    with engine.connect() as connection:
        revision = _revision(connection)
    if revision == REVISIONS[-1]:
        return
    if revision not in REVISIONS:
        raise OSError(f"a newer ginnel wrote it (tables {revision}); run that version, or restore a backup")
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    known = connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").first()
    if known is None:
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def _read_all(connection: Connection, kind: type, bad: list[RowMapping]) -> list[Any]:
    form = FORMS[kind]
    query = select(form.table).where(form.table.c.tailnet == TAILNET)
    read = []
    for row in connection.execute(query).mappings():
        try:
            read.append(form.read(row))
        except (ValueError, TypeError, msgspec.MsgspecError):
            name = next(iter(form.table.primary_key.columns.keys()[1:]), form.table.primary_key.columns.keys()[0])
            log.error("a row of %s cannot be read and is left out: %s %s", form.table.name, name, row[name])
            bad.append(row)
    return read


def _write(connection: Connection, row: Row) -> None:
    match row:
        case Spend(key_id, at):
            _spend(connection, tables.preauth_keys, key_id, at)
        case SpendToken(token_id, at):
            _spend(connection, tables.relay_tokens, token_id, at)
        case DropRelay(relay_id):
            gone = (tables.relays.c.tailnet == TAILNET) & (tables.relays.c.id == relay_id)
            connection.execute(delete(tables.relays).where(gone))
        case Drop(kind, number):
            _drop(connection, kind, number)
        case Audit():
            connection.execute(insert(tables.audit).values(tailnet=TAILNET, **FORMS[Audit].write(row)))
        case _:
            _put(connection, row)


def _put(connection: Connection, row: Row) -> None:
    form = FORMS[type(row)]
    columns = {"tailnet": TAILNET, **form.write(row)}
    keys = [column.name for column in form.table.primary_key]
    statement = insert(form.table).values(columns)
    others = {name: statement.excluded[name] for name in columns if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=others))
    if form.number:
        _count(connection, form.number, columns["id"])


def _count(connection: Connection, name: str, number: int) -> None:
    statement = insert(tables.numbers).values(tailnet=TAILNET, name=name, last=number)
    grown = statement.on_conflict_do_update(
        index_elements=["tailnet", "name"], set_={"last": number}, where=tables.numbers.c.last < number
    )
    connection.execute(grown)


def _spend(connection: Connection, keys: Table, key_id: int, at: float) -> None:
    mine = (keys.c.tailnet == TAILNET) & (keys.c.id == key_id)
    free = keys.c.used.is_(None) & keys.c.revoked.is_(None)
    if connection.execute(update(keys).where(mine & free).values(used=at)).rowcount != 1:
        raise _SpentAlready("the key is used or revoked")


def _drop(connection: Connection, kind: str, number: int) -> None:
    for table in (tables.users,) if kind == "user" else (tables.nodes, tables.node_status):
        connection.execute(delete(table).where((table.c.tailnet == TAILNET) & (table.c.id == number)))


def _line(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split())
