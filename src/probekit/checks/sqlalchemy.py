"""Check a database through the SQLAlchemy engine that the application itself uses.

Needs the extra ``sqlalchemy``; the driver is the application's own choice.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, final, overload

from probekit.exceptions import ConfigurationError, MissingExtraError, Unhealthy

try:
    import sqlalchemy as sa
    from sqlalchemy import exc
    from sqlalchemy.pool import QueuePool
    from sqlalchemy.schema import CreateTable
except ImportError as _error:
    raise MissingExtraError(__name__, package="sqlalchemy", extra="sqlalchemy") from _error

if TYPE_CHECKING:
    from collections.abc import Generator

    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["AsyncEngineCheck", "EngineCheck", "SQLAlchemyCheck"]

# Why a database refuses a write, by SQLSTATE (PostgreSQL) or by the name of SQLite's result code.
# These sentences are ours: a driver's own text may quote data or the address and stays in the log.
_REFUSALS = {
    "25006": "it is read-only (a standby, or default_transaction_read_only)",
    "42501": "the user lacks SELECT, INSERT or UPDATE on the table of the check",
    "53100": "its disk is full",
    "SQLITE_FULL": "its disk is full",
    "SQLITE_READONLY": "it is read-only",
}


@dataclass(frozen=True, init=False)
class SQLAlchemyCheck:
    """Prove that the application's own pool reaches the database, and that it can write there.

    Hand over the engine that serves production traffic: an exhausted pool, a dead connection or a
    wrong password then fails the check just as it fails a request. ``SQLAlchemyCheck(engine)``
    gives an `EngineCheck` for an ``Engine`` and an `AsyncEngineCheck` for an ``AsyncEngine``:
    probekit runs the one on a thread and the other on the loop, and tells them apart before they
    run for the first time.

    With ``writable=True`` the check counts up one row of a table of its own, which shows what
    ``SELECT 1`` cannot: a read-only file, a standby, a full disk. The table holds that row for
    ever and never another. It is created by nobody but you: put `ddl` into a migration, or call
    ``create_table()`` once.

    Args:
        engine: The ``Engine`` or ``AsyncEngine`` that the application uses.
        writable: Prove a write instead of a read.
        table: The name of the table that ``writable`` counts in.
        schema: The schema of that table; None for the connection's default.

    Raises:
        ConfigurationError: The engine is neither, or the table has no usable name.

    Note:
        The check waits for as long as the pool and the driver wait: set ``pool_timeout`` and the
        driver's own timeouts, so that a run which the probe has given up ends by itself.
        SQLAlchemy's asyncio extension runs on asyncio only; on trio use an ``Engine``.

    Example:
        ``probes.readiness(SQLAlchemyCheck(engine, writable=True))``
    """

    engine: sa.Engine | AsyncEngine = field(repr=False)
    _: KW_ONLY
    writable: bool = False
    table: str = "probekit_writable"
    schema: str | None = None

    external: ClassVar[bool] = True
    """It depends on something outside the process, so liveness refuses it."""
    name: ClassVar[str] = "database"
    """What the check is called unless it is registered under another name."""

    @overload
    def __new__(
        cls,
        engine: sa.Engine,
        *,
        writable: bool = ...,
        table: str = ...,
        schema: str | None = ...,
    ) -> EngineCheck: ...

    @overload
    def __new__(
        cls,
        engine: AsyncEngine,
        *,
        writable: bool = ...,
        table: str = ...,
        schema: str | None = ...,
    ) -> AsyncEngineCheck: ...

    def __new__(
        cls,
        engine: sa.Engine | AsyncEngine,
        *,
        writable: bool = False,
        table: str = "probekit_writable",
        schema: str | None = None,
    ) -> SQLAlchemyCheck:
        """Build the kind of check that the engine asks for."""
        del writable, table, schema  # they go to the __init__ of that kind
        kind = _kind_for(engine)
        if cls not in (SQLAlchemyCheck, kind):
            msg = (
                f"{cls.__name__} cannot check a {type(engine).__name__}; call SQLAlchemyCheck(), "
                "which picks the kind and has no other"
            )
            raise ConfigurationError(msg)
        return object.__new__(kind)

    def __post_init__(self) -> None:
        """Refuse at once a table that the database would refuse at three in the morning."""
        if not _is_name(self.table):
            msg = (
                f"SQLAlchemyCheck: table must be the name of a table, got {self.table!r}; "
                "leave it out for 'probekit_writable'"
            )
            raise ConfigurationError(msg)
        try:
            self.engine.dialect.validate_identifier(self.table)
        except exc.IdentifierError as error:
            msg = f"SQLAlchemyCheck: the database allows no table name like that: {error}"
            raise ConfigurationError(msg) from error

    @property
    def ddl(self) -> str:
        """The statement that creates the table, in the dialect of the engine."""
        statement = CreateTable(self._table).compile(dialect=self.engine.dialect)
        return str(statement).replace("\n", "").replace("\t", "")

    @cached_property
    def _table(self) -> sa.Table:
        return sa.Table(
            self.table,
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("beat", sa.BigInteger, nullable=False),
            sa.CheckConstraint("id = 1"),  # the database itself keeps it from growing
            schema=self.schema,
        )

    def _run(self, connection: sa.Connection) -> None:
        if not self.writable:
            # Not text("SELECT 1"): Oracle wants FROM DUAL, and the dialect knows.
            connection.execute(sa.select(1))
            return
        _autocommit(connection)
        try:
            self._upsert(connection)
        except exc.DBAPIError as error:
            self._explain(connection, error)
            raise

    def _upsert(self, connection: sa.Connection) -> None:
        """Count up the one row, or make it: written so that every dialect understands it.

        All replicas share the row, since a row for each would grow. In autocommit its lock lives
        inside one statement on the server: a replica that freezes or is cut off between an UPDATE
        and its COMMIT would hold the lock, and take every other replica out of service with it.
        A write that is rolled back would lock as well, and would never show that a COMMIT works.
        """
        # A value that changes: InnoDB does not write a row that stays what it was.
        columns = self._table.c
        update = self._table.update().values(beat=columns.beat + 1).where(columns.id == 1)
        if connection.execute(update).rowcount != 0:
            return
        try:
            connection.execute(self._table.insert().values(id=1, beat=1))
        except exc.IntegrityError:
            # Another replica made the row first, so that now there is one to count up.
            if connection.execute(update).rowcount == 0:
                raise

    def _explain(self, connection: sa.Connection, error: exc.DBAPIError) -> None:
        """Raise what an operator can act on, or return if there is nothing to add."""
        if error.connection_invalidated:
            return
        refusal = _REFUSALS.get(_code(error))
        if refusal is not None:
            msg = f"the database refuses writes: {refusal}"
            raise Unhealthy(msg, detail=_detail(self.engine)) from error
        if not sa.inspect(connection).has_table(self.table, schema=self.schema):
            msg = (
                f"table {self.table} is missing; create it with the check's create_table() "
                f"or in a migration: {self.ddl}"
            )
            raise Unhealthy(msg, detail=_detail(self.engine)) from error

    def _create(self, connection: sa.Connection) -> None:
        _autocommit(connection)
        try:
            self._table.create(connection, checkfirst=True)
        except exc.DBAPIError:
            # Replicas that start together all find no table, and all but one are refused.
            if not sa.inspect(connection).has_table(self.table, schema=self.schema):
                raise


@final
@dataclass(frozen=True)
class EngineCheck(SQLAlchemyCheck):
    """What `SQLAlchemyCheck` gives for an ``Engine``: a sync check, which runs on a thread."""

    engine: sa.Engine = field(repr=False)

    def __call__(self) -> dict[str, object]:
        """Run the check.

        Returns:
            The dialect and, of a pool that has a size, that size and the connections in use.

        Raises:
            Unhealthy: The pool is exhausted, or the database refuses the write.
        """
        with _pool_explained(self.engine), self.engine.connect() as connection:
            self._run(connection)
        return _detail(self.engine)

    def create_table(self) -> None:
        """Create the table of ``writable=True`` unless it is there; needs the right to."""
        with self.engine.connect() as connection:
            self._create(connection)


@final
@dataclass(frozen=True)
class AsyncEngineCheck(SQLAlchemyCheck):
    """What `SQLAlchemyCheck` gives for an ``AsyncEngine``: an async check, on asyncio only."""

    engine: AsyncEngine = field(repr=False)

    async def __call__(self) -> dict[str, object]:
        """Run the check.

        Returns:
            The dialect and, of a pool that has a size, that size and the connections in use.

        Raises:
            Unhealthy: The pool is exhausted, or the database refuses the write.

        Note:
            When it is cancelled, SQLAlchemy closes the connection instead of reusing it.
        """
        with _pool_explained(self.engine):
            async with self.engine.connect() as connection:
                await connection.run_sync(self._run)
        return _detail(self.engine)

    async def create_table(self) -> None:
        """Create the table of ``writable=True`` unless it is there; needs the right to."""
        async with self.engine.connect() as connection:
            await connection.run_sync(self._create)


def _kind_for(engine: object) -> type[SQLAlchemyCheck]:
    # Whoever holds an AsyncEngine has imported its module. Importing it here would make greenlet a
    # must for applications that have no use for it.
    asyncio_extension = sys.modules.get("sqlalchemy.ext.asyncio")
    if asyncio_extension and isinstance(engine, asyncio_extension.AsyncEngine):
        return AsyncEngineCheck
    if not isinstance(engine, sa.Engine):
        # Its type and not its value: a URL carries the password.
        msg = (
            "SQLAlchemyCheck: engine must be the Engine or AsyncEngine that the application uses, "
            f"got {type(engine).__name__}; of a URL make one with create_engine(), of a session "
            "take session.get_bind(), of Flask-SQLAlchemy db.engine"
        )
        raise ConfigurationError(msg)
    if engine.dialect.is_async:
        msg = (
            f"SQLAlchemyCheck: an Engine cannot use {engine.dialect.driver}, an asyncio driver; "
            "pass the AsyncEngine that create_async_engine() gives, not its sync_engine"
        )
        raise ConfigurationError(msg)
    return EngineCheck


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _autocommit(connection: sa.Connection) -> None:
    # Holds until the connection goes back to the pool, which restores what the engine had.
    connection.execution_options(isolation_level="AUTOCOMMIT")


def _code(error: exc.DBAPIError) -> str:
    """Return the SQLSTATE, or the name of SQLite's primary result code, or an empty string."""
    names = ("sqlstate", "pgcode", "sqlite_errorname")
    code = next(filter(None, (getattr(error.orig, name, None) for name in names)), "")
    return "_".join(str(code).split("_")[:2])  # SQLITE_READONLY_DIRECTORY is extended


@contextmanager
def _pool_explained(engine: sa.Engine | AsyncEngine) -> Generator[None]:
    try:
        yield
    except exc.TimeoutError as error:  # which nothing but a pool raises
        msg = "the connection pool is exhausted: none came back within its pool_timeout"
        raise Unhealthy(msg, detail=_detail(engine)) from error


def _detail(engine: sa.Engine | AsyncEngine) -> dict[str, object]:
    detail: dict[str, object] = {"dialect": engine.dialect.name}
    if isinstance(engine.pool, QueuePool):
        detail |= {"pool_size": engine.pool.size(), "in_use": engine.pool.checkedout()}
    return detail
