"""The database: read once at the start, written from then on by one thread.

Room: shell. Memory is served, the database is written. `commit` returns when the rows are on disk, so that nothing is
acknowledged before; when it fails, nothing of the transaction is there and the caller answers 5xx.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, delete, event, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError

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

TAILNET = "default"
HEAD = "0001"
BUSY_TIMEOUT_MS = 2000


class StoreUnavailable(Exception):
    """The rows could not be written: locked, full, read-only or broken. One line."""


@dataclass(frozen=True, slots=True)
class Loaded:
    rows: list[Row]
    numbers: dict[str, int]


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
        """Everything, in an order that can be applied."""
        rows: list[Row] = []
        with self._engine.connect() as connection:
            for kind in (User, KeyBinding, Node, Status, PreauthKey, Released):
                rows += _read_all(connection, kind)
            policies = _read_all(connection, PolicyText)
            rows += [max(policies, key=lambda policy: policy.version)] if policies else []
            numbers = connection.execute(select(tables.numbers).where(tables.numbers.c.tailnet == TAILNET))
            return Loaded(rows, {row.name: row.last for row in numbers})

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
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_TIMEOUT_MS}"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _migrate(engine: Engine) -> None:
    """Alembic is imported only when there is something to do: it is slow to load and large."""
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
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


def _read_all(connection: Connection, kind: type) -> list[Any]:
    form = FORMS[kind]
    query = select(form.table).where(form.table.c.tailnet == TAILNET)
    return [form.read(row) for row in connection.execute(query).mappings()]


def _write(connection: Connection, row: Row) -> None:
    match row:
        case Spend(key_id, at):
            _spend(connection, key_id, at)
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


def _spend(connection: Connection, key_id: int, at: float) -> None:
    keys = tables.preauth_keys
    mine = (keys.c.tailnet == TAILNET) & (keys.c.id == key_id)
    free = keys.c.used.is_(None) & keys.c.revoked.is_(None)
    if connection.execute(update(keys).where(mine & free).values(used=at)).rowcount != 1:
        raise _SpentAlready("the pre-auth key is used or revoked")


def _drop(connection: Connection, kind: str, number: int) -> None:
    for table in (tables.users,) if kind == "user" else (tables.nodes, tables.node_status):
        connection.execute(delete(table).where((table.c.tailnet == TAILNET) & (table.c.id == number)))


def _line(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split())
