"""Writes the log of a database while steps run on it."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import nullcontext
import dataclasses
from datetime import datetime
from datetime import UTC
from functools import cache
from functools import cached_property
from functools import partial
from importlib import metadata
import time
import typing as t

from alembic.runtime.migration import MigrationContext
from alembic.runtime.migration import MigrationInfo
import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.databases import without_secrets
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import separate_connection
from flask_dbmigrate.dialects import was_lost
from flask_dbmigrate.script.checksum import Checksum
from flask_dbmigrate.wording import shortened

from .connection import run_with_event_loop
from .log import direction_of
from .log import log_table
from .log import LogEntry
from .origin import Origin
from .own_tables import as_row
from .own_tables import complete
from .own_tables import harmless
from .own_tables import present_columns
from .statements import StatementCounter

_LONGEST_ERROR = 10_000
"""In characters: a column of MySQL holds 65535 bytes."""


class NotLoggedError(Exception):
    """The log cannot be written, and the step has to be run once more without it."""


class LogWriter:
    """Writes the log of one database while steps run on it.

    Whatever goes wrong with the log, the steps run.

    :param context: Alembic's context for the database.
    :param statements: Counts those of the running step.
    :param is_on: Whether to write at all.
    :param tell: Is told, once, why the log cannot be written.
    """

    def __init__(
        self,
        context: MigrationContext,
        statements: StatementCounter,
        *,
        is_on: bool,
        tell: t.Callable[[str], None],
    ) -> None:
        self._context = context
        self.status: str | None = None
        """What the entries say of steps that succeed, where it is not the usual."""
        self._is_on = is_on
        self._is_ready = False
        self._columns: frozenset[str] = frozenset()
        self._tell = tell
        self._running: LogEntry
        self._origin: Origin
        self._clock = 0.0
        self._statements = statements

    @cached_property
    def _table(self) -> sa.Table:  # most runs have no steps
        return log_table(self._context)

    def begin(self, step: MigrationInfo) -> None:
        """Note that a step begins; before the first one the table is created and looked at."""
        if self._is_on and not self._is_ready:
            self._prepare()
        if self._is_on:
            with self._off_if_it_fails():
                self._running = _begun(step, self._origin)
            self._clock = time.monotonic()

    def applied(self, seconds: float, *, spares_savepoint: bool = False) -> None:
        """Write that the step has run, in its own transaction.

        :param seconds: How long it took.
        :param spares_savepoint: Whether the step can be run once more, should this fail.
        :raises NotLoggedError: if it has to be.
        """
        if not self._is_on:
            return
        connection = self._context.connection
        assert connection is not None
        entry = self._finished(seconds)
        if self.status is not None:
            entry = dataclasses.replace(entry, status=self.status)
        savepoint = partial(harmless, self._context) if not spares_savepoint else nullcontext
        with self._off_if_it_fails(), savepoint():
            self._insert(connection, entry)
        if spares_savepoint and not self._is_on:
            raise NotLoggedError

    def failed(self, error: str, urls: t.Iterable[sa.URL]) -> None:
        """Write that the step has failed, on a connection of its own: the step's has rolled back.

        A connection that was handed in still waits for its owner's decision: nothing is written.

        :param error: Why.
        :param urls: URLs whose secrets it must not contain.
        """
        connection = self._context.connection
        if not self._is_on or connection is None or not connection.closed:
            return
        for url in (connection.engine.url, *urls):
            error = without_secrets(error, url)
        seconds = time.monotonic() - self._clock
        failure = dataclasses.replace(
            self._finished(seconds), status="failed", error=shortened(error, _LONGEST_ERROR)
        )
        with self._off_if_it_fails():
            write = partial(self._write_separately, connection.engine, failure)
            run_with_event_loop(write, [connection.engine])

    def _write_separately(self, engine: sa.Engine, entry: LogEntry) -> None:
        with separate_connection(engine) as connection:
            self._table.create(connection, checkfirst=True)
            self._columns = present_columns(connection, self._table)
            self._insert(connection, entry)
            connection.commit()

    def _prepare(self) -> None:
        connection = self._context.connection
        assert connection is not None
        with self._off_if_it_fails():
            with harmless(self._context):
                self._table.create(connection, checkfirst=True)
            self._columns = complete(self._context, self._table)
        if not _alembic.is_in_transaction(self._context):
            connection.commit()  # or it would be part of the first revision
        self._origin = Origin.here()
        self._is_ready = True

    def _finished(self, seconds: float) -> LogEntry:
        return dataclasses.replace(
            self._running,
            finished=_now(),
            duration_ms=round(seconds * 1000),
            statements=self._statements.count,
        )

    def _insert(self, connection: sa.Connection, entry: LogEntry) -> None:
        row = as_row(connection, entry, self._columns)
        connection.execute(self._table.insert().inline(), row)

    @contextmanager
    def _off_if_it_fails(self) -> t.Iterator[None]:
        try:
            yield
        except Exception as error:  # drivers raise more than SQLAlchemy knows of
            connection = self._context.connection
            assert connection is not None
            if was_lost(error) and not connection.closed:
                raise  # the steps cannot run either
            self._is_on = False
            original = getattr(error, "orig", None) or error
            reason = facts_of(self._context.dialect.name).message(original).rstrip(".")
            self._tell(without_secrets(reason, connection.engine.url))


def _begun(step: MigrationInfo, origin: Origin) -> LogEntry:
    """Describe a step that begins, as if it had ended already."""
    to, source = (
        (step.destination_revision_ids, step.source_revision_ids)
        if step.is_stamp
        else (step.up_revision_ids, step.down_revision_ids)
    )
    script: t.Any = step.revision_map.get_revision(to[0]) if len(to) == 1 else None
    checksum = Checksum(script.path) if script else None
    now = _now()
    return LogEntry(
        revision=", ".join(to) or "base",
        down_revision=", ".join(source),
        direction=direction_of(step),
        message=script.doc if script else "",
        checksum=checksum.of_bytes if checksum else "",
        token_checksum=checksum.of_tokens if checksum else "",
        started=now,
        finished=now,
        duration_ms=0,
        status="stamped" if step.is_stamp else "ok",
        statements=0,
        error="",
        **vars(origin),
        tool_version=_tool_version(),
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)  # MySQL would round them


@cache
def _tool_version() -> str:
    try:
        return metadata.version("Flask-DBMigrate")
    except metadata.PackageNotFoundError:
        return ""
