"""PostgreSQL: a transaction for each revision, in which DDL does not wait long for a lock.

Whoever needs a table waits behind an ``ALTER TABLE`` that itself waits for a lock: one long query
stops an application. So DDL gives up after a moment, and the revision is tried again later.
"""

from __future__ import annotations

import re
import typing as t

from alembic.runtime.migration import MigrationContext
from alembic.script import Script
import sqlalchemy as sa

from flask_dbmigrate.dialects import is_autocommit
from flask_dbmigrate.dialects import OWN
from flask_dbmigrate.runtime.settings import RunSettings

from .base import Conflict
from .base import is_own
from .base import TransactionPerRevision
from .blockers import BlockerWatch
from .blockers import sessions_of_this_process
from .statements import DDL
from .statements import Housekeeping


def _set(name: str, value: str) -> str:
    return f"set_config('{name}', '{value}', true)"


# A statement whose client is gone ends; a server that does not run on Linux may not know how:
# PostgreSQL 15 documentation, section 20.3.3 "TCP Settings".
_CHECK_CLIENT = (
    "CASE WHEN strpos(version(), 'linux') > 0 "
    f"THEN {_set('client_connection_check_interval', '500ms')} END"
)

_SETS_LOCK_TIMEOUT = re.compile(
    r"\bSET(?:_CONFIG)?\b.*\bLOCK_TIMEOUT\b", flags=re.IGNORECASE | re.DOTALL
)

_LOOKS_PER_TIMEOUT = 4


class PostgreSQLTimeouts(TransactionPerRevision):
    """Limits how long DDL waits for locks, and how long any statement runs if that is wished.

    The limits end with the transaction: poolers hand a session on as it is. In an
    ``autocommit_block()`` there is none, so that ``CREATE INDEX CONCURRENTLY`` may wait.

    :param connection: env.py's own.
    :param options: Those of Alembic's ``configure()``.
    :param settings: The limits, in seconds.
    """

    def __init__(
        self, connection: sa.Connection, options: t.Mapping[str, t.Any], settings: RunSettings
    ) -> None:
        super().__init__(connection, options, settings)
        self._lock_timeout = settings.ddl_lock_timeout or 0
        self._statement_timeout = settings.statement_timeout or 0
        self._housekeeping = Housekeeping(options.get("version_table", "alembic_version"))
        self._is_limited: bool | None = None
        self._is_left_alone = False
        self._found: str | None = None
        self._watch: BlockerWatch | None = None
        self._session = 0

    def before_step(self, script: Script | None, context: MigrationContext) -> None:
        super().before_step(script, context)
        self._autocommit.follow(script)

    def finish(self) -> None:
        super().finish()
        self._end_watch()

    def _listeners(self) -> t.Iterator[tuple[str, t.Callable[..., None]]]:
        yield from super()._listeners()
        yield "before_cursor_execute", self._before
        yield "after_cursor_execute", self._end_watch
        yield "rollback_savepoint", self._forget
        for name in ("begin", "commit", "rollback"):
            yield name, self._begin
        yield "set_connection_execution_options", _end_what_the_driver_began

    def _begin(self, connection: sa.Connection) -> None:
        """Begin anew: what was set is over, because the transaction is."""
        self._forget()
        self._is_left_alone = False
        self._found = None

    def _forget(self, *_: t.Any) -> None:
        """Set the limits again: a savepoint that was rolled back took them with it, or did not."""
        self._is_limited = None

    def _before(
        self,
        connection: sa.Connection,
        cursor: t.Any,
        statement: str,
        parameters: t.Any,
        context: sa.engine.ExecutionContext | None,
        *_: t.Any,
    ) -> None:
        """Set the limits that suit a statement."""
        self._end_watch()  # of one whose failure the revision expected
        self._watch = None
        if is_own(context) or is_autocommit(connection) or self._blocks.need(statement):
            return
        if _SETS_LOCK_TIMEOUT.search(statement):  # the revision knows better
            self._is_left_alone = True
        if self._is_left_alone or self._housekeeping.match(statement):
            return
        is_watched = bool(self._lock_timeout) and DDL.match(statement) is not None
        is_limited = is_watched and not self.is_final  # or there would be no second try
        if is_limited != self._is_limited:
            self._limit(is_limited)
        if is_watched:
            interval = self._lock_timeout / _LOOKS_PER_TIMEOUT
            own = None if is_limited else self._own_sessions
            self._watch = BlockerWatch(connection.engine, self._session, interval=interval, own=own)

    def _limit(self, is_limited: bool) -> None:
        expressions = ["pg_backend_pid()", "current_setting('lock_timeout')"]
        if is_limited:
            expressions.append(_set("lock_timeout", f"{max(1, self._lock_timeout * 1000):.0f}ms"))
        elif self._found is not None:
            expressions.append(_set("lock_timeout", self._found))
        if self._is_limited is None:
            expressions.extend(self._always())
        query = f"SELECT {', '.join(expressions)}"
        row = self.connection.exec_driver_sql(query, execution_options=OWN).one()
        self._session = row[0]
        if self._found is None:
            self._found = row[1]
        self._is_limited = is_limited

    def _always(self) -> t.Iterator[str]:
        """What is to be set for all statements of a transaction."""
        if self._statement_timeout:
            yield _set("statement_timeout", f"{self._statement_timeout * 1000:.0f}ms")
        if (self.connection.dialect.server_version_info or ()) >= (14,):
            yield _CHECK_CLIENT

    def _end_watch(self, *_: t.Any) -> None:
        if self._watch is not None:
            self._watch.end()

    def hint(self, error: BaseException) -> str:
        original = error.orig if isinstance(error, sa.exc.DBAPIError) else None
        if original is None or not self.facts.is_refused_in_transaction(original):
            return super().hint(error)
        block = "Run it in 'with op.get_context().autocommit_block():'"
        if not self._autocommit.was_on:
            return f"{block}."
        return f"{block}, or write 'transactional_ddl = False' at the top of the script."

    def _own_sessions(self) -> set[int]:
        return sessions_of_this_process(self.connection, tuple(self.borrowed))

    @property
    def spares_savepoint(self) -> bool:
        return self.is_per_revision and not self._commits and not self.is_final

    def conflict(self, error: BaseException) -> Conflict | None:
        self._end_watch()
        has_cancelled = self._watch is not None and self._watch.has_cancelled
        if not has_cancelled and not self.has_conflict(error):
            return None
        blockers = () if self._watch is None else self._watch.end()
        own = self._own_sessions() if blockers else set()
        return Conflict(
            blockers,
            is_own=any(blocker.session in own for blocker in blockers),
            is_repeatable=not self.is_final and not self.has_committed(error),
        )


def _end_what_the_driver_began(connection: sa.Connection, options: t.Mapping[str, t.Any]) -> None:
    """Enter an ``autocommit_block()`` without a transaction.

    Alembic asks for the isolation level before it, and pg8000 begins a transaction for that, in
    which it stays.
    """
    if options.get("isolation_level") == "AUTOCOMMIT" and not connection.in_transaction():
        connection.connection.rollback()
